"""The cloud's REST routes, a file for each kind of request."""
