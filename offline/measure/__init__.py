"""What a policy is worth: accuracy, compute and channel uses, one policy or a whole search."""
