"""Makes ``torchvision`` importable beside a torch build that lacks its compiled operators.

timm and transformers import torchvision, whose registry wheel is built against the CUDA torch. With a CPU torch its
extension does not load, and the registration of fake kernels for ``nms`` fails. We never call these operators, so
their bare schemas are enough.
"""

import importlib
import sys

import torch


def ensure_importable() -> None:
    """Import torchvision, defining the missing operator schemas only if its import asks for them.

    Raises:
        RuntimeError: torchvision fails to import for any other reason.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        torch.library.define("torchvision::nms", schema)
        torch.library.define("torchvision::qnms", schema)
        importlib.import_module("torchvision")
