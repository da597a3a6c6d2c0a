"""Where to split: after the last layer, or in the middle."""
