"""The server: from received symbols to an answer."""
