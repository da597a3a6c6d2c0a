"""Measurements of the running system; each module is one command that prints what a document quotes."""
