"""The experiments of the paper, and those that it leaves out: each from data to a table by one command."""
