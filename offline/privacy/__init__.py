"""Model inversion: from what crosses the link back to the picture, by an attacker who knows the model and the policy."""
