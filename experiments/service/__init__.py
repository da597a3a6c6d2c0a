"""What the running processes cost and reach, against bare servers around the same bytes and models."""
