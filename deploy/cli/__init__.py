"""The command line; what a command needs is imported only when it runs."""
