"""The searched front beside simpler ways."""
