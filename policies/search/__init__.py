"""Search for policies over several objectives at once, over anything that measures a policy."""
