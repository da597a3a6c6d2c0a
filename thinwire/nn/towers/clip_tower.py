"""CLIP's vision model (Radford et al., 2021), which LLaVA reads: a class token, and a norm before the first layer."""

from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModel

from thinwire.nn.towers.encoder_tower import EncoderTower


class ClipTower(EncoderTower):
    """``CLIPVisionModel`` up to a feature layer."""

    name = "clip"
    config_class = CLIPVisionConfig
    model_class = CLIPVisionModel
    prefix_tokens = 1

    def embed(self, images: Tensor) -> Tensor:
        """See `Tower.embed`."""
        embedded: Tensor = self.module.pre_layrnorm(super().embed(images))  # type: ignore[operator]
        return embedded
