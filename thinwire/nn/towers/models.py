"""The tower around a model that is in memory already."""

from typing import Any

from torch import nn

from thinwire.errors import InvalidRequestError
from thinwire.nn.towers.interface import Tower

# By the `model_type` of transformers' vision models.
_OF_TRANSFORMERS = {"clip_vision_model": "clip", "siglip_vision_model": "siglip"}


def tower_of(model: nn.Module | Tower) -> Tower:
    """What runs a model layer by layer, with the model's own weights; a tower is given back as it is.

    Args:
        model: a tower; timm's plain ``VisionTransformer``; transformers' ``CLIPVisionModel`` or ``SiglipVisionModel``;
            or a LLaVA with one of these, which is run up to the hidden state that its language model reads.

    Raises:
        InvalidRequestError: it is none of these.
    """
    if isinstance(model, Tower):
        return model
    library = type(model).__module__.partition(".")[0]
    # By the library's name first: each takes seconds to import.
    if library == "timm":
        from thinwire.nn.backbone import VisionTransformer
        from thinwire.nn.towers.timm_tower import TimmTower

        if isinstance(model, VisionTransformer):
            try:
                return TimmTower(model)
            except ValueError as error:
                raise InvalidRequestError(f"{type(model).__name__} is no plain vision transformer: {error}") from None
    if library == "transformers":
        from thinwire.nn.towers.registry import find_tower

        outer: Any = model
        vision: Any = getattr(getattr(outer, "model", outer), "vision_tower", outer)
        name = _OF_TRANSFORMERS.get(vision.config.model_type)
        if name is not None:
            kind: Any = find_tower(name)
            tower: Tower = kind.around(vision, getattr(outer.config, "vision_feature_layer", -1))
            return tower
    raise InvalidRequestError(
        "expected a Tower, a timm VisionTransformer, or transformers' CLIPVisionModel, SiglipVisionModel or LLaVA, "
        f"got {type(model).__module__}.{type(model).__qualname__}"
    )
