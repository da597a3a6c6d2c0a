"""The shipped front beside simpler ways."""
