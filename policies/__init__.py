"""Policies: what they are, where they are kept, and how a budget chooses one."""
