"""Token merging: which tokens merge, merging them, and the transformer pass that does it."""
