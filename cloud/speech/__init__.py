"""Whisper's decoder as `transformers` has it, over any number of received tokens a clip."""

from thinwire.nn.torchvision_ops import ensure_importable

# Here, so that every module of this package finds transformers' models importable.
ensure_importable()
