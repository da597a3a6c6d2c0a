"""Model inversion: from what crosses the link to the picture, by one who knows the model and the policy."""
