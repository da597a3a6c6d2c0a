"""From trained parts to a bundle with its fronts."""
