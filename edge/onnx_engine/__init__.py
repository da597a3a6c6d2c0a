"""The device's side on ONNX Runtime."""
