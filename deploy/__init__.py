"""Every way to run the three processes."""
