"""SigLIP's vision model (Zhai et al., 2023): no class token."""

from typing import Any

from transformers import SiglipVisionConfig, SiglipVisionModel

from thinwire.nn.towers.encoder_tower import EncoderTower


class SiglipTower(EncoderTower):
    """``SiglipVisionModel`` up to a feature layer, without its pooling head."""

    name = "siglip"
    config_class = SiglipVisionConfig
    model_class = SiglipVisionModel

    @classmethod
    def overrides(cls) -> dict[str, Any]:
        """See `EncoderTower.overrides`."""
        return {"vision_use_head": False}
