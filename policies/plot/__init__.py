"""Drawings of studies; `policies.plot.draw` is the way in, and loads a library that draws only when it draws."""
