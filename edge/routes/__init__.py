"""What REST at the edge serves, by task."""
