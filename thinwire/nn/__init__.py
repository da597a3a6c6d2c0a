"""Layers and rules that the edge and the cloud share; the only torch in ``thinwire``."""

from thinwire.nn.torchvision_ops import ensure_importable

# Here, so that every module of this package, and what it imports, finds timm importable.
ensure_importable()
