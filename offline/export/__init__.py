"""A bundle's models as ONNX graphs, for engines without torch."""
