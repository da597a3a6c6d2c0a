"""The device's side in torch."""
