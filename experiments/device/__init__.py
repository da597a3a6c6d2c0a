"""What the device's side costs, against plain models, ToMe and an oracle."""
