"""REST as the edge and the cloud both speak it."""
