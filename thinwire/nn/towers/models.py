"""The tower around a model that is in memory already."""

from typing import Any

from torch import nn

from thinwire.errors import InvalidRequestError
from thinwire.nn.towers.interface import ClassifyingTower, Tower

# By the `model_type` of transformers' vision models.
_OF_TRANSFORMERS = {"clip_vision_model": "clip", "siglip_vision_model": "siglip"}
_WHISPER = ("WhisperEncoder", "WhisperModel", "WhisperForConditionalGeneration")


def tower_of(model: nn.Module | Tower) -> Tower:
    """What runs a model layer by layer, with the model's own weights; a tower is given back as it is.

    Args:
        model: a tower; timm's ``VisionTransformer`` or ``Eva``; one of transformers' vision models or image
            classifiers in `thinwire.nn.towers.hub_model.ARCHITECTURES`; a Whisper, of which the encoder is run; or a
            LLaVA with a ``CLIPVisionModel`` or ``SiglipVisionModel``, which is run up to the hidden state that its
            language model reads.

    Raises:
        InvalidRequestError: it is none of these.
    """
    if isinstance(model, Tower):
        return model
    where = type(model).__module__
    library = where.partition(".")[0]
    # By the library's name first: each takes seconds to import.
    if library == "timm" or where == "thinwire.nn.backbone":
        from thinwire.nn.backbone import KINDS
        from thinwire.nn.towers.timm_tower import TimmTower

        if isinstance(model, KINDS):
            try:
                return TimmTower(model)
            except ValueError as error:
                raise InvalidRequestError(f"{type(model).__name__} is no plain vision transformer: {error}") from None
    if library in ("transformers", "thinwire"):
        from thinwire.nn.towers.hub_model import ARCHITECTURES, HubModel
        from thinwire.nn.towers.hub_tower import HubTower
        from thinwire.nn.towers.registry import find_tower

        if isinstance(model, HubModel):
            return HubTower(model)
        outer: Any = model
        vision: Any = getattr(getattr(outer, "model", outer), "vision_tower", outer)
        name = _OF_TRANSFORMERS.get(getattr(getattr(vision, "config", None), "model_type", ""))
        if name is not None:
            kind: Any = find_tower(name)
            tower: Tower = kind.around(vision, getattr(outer.config, "vision_feature_layer", -1))
            return tower
        if type(model).__name__ in _WHISPER:
            whisper: Any = find_tower("whisper")
            speech: Tower = whisper.around(model)
            return speech
        if type(model).__name__ in ARCHITECTURES:
            return HubTower(HubModel.around(model))
    raise InvalidRequestError(
        "expected a Tower, a timm VisionTransformer, Eva, transformers' CLIPVisionModel, SiglipVisionModel, LLaVA or "
        f"Whisper, or one of its image classifiers, got {type(model).__module__}.{type(model).__qualname__}"
    )


def classifier_of(model: nn.Module | Tower) -> ClassifyingTower:
    """`tower_of` for a model that answers by itself.

    Raises:
        InvalidRequestError: it is none, or does not.
    """
    tower = tower_of(model)
    if not isinstance(tower, ClassifyingTower):
        raise InvalidRequestError(f"expected a model that classifies, got {type(model).__qualname__}")
    return tower
