"""transformers' vision transformers as models whose forward pass gives logits, from the specification of a bundle."""

from dataclasses import dataclass
from typing import Any, Self

import torch
import transformers
from torch import Tensor, nn

from thinwire.errors import BundleError


@dataclass(frozen=True)
class Architecture:
    """One of transformers' classes, and where its parts are.

    Attributes:
        config: name of the class of its configuration.
        base: attribute that holds the vision model; "" where the class is that itself.
        pool: what its own head reads: "token", "mean" of the patches, "token+mean", "two tokens", or, of a class that
            has none, "pooled" for what it calls its pooled feature, which gets a linear head of ours.
        whole: name of the configuration that wraps the vision model's, if there is one.
    """

    config: str
    base: str
    pool: str
    whole: str | None = None


ARCHITECTURES = {
    "ViTForImageClassification": Architecture("ViTConfig", "vit", "token"),
    "DeiTForImageClassification": Architecture("DeiTConfig", "deit", "token"),
    "DeiTForImageClassificationWithTeacher": Architecture("DeiTConfig", "deit", "two tokens"),
    "Dinov2ForImageClassification": Architecture("Dinov2Config", "dinov2", "token+mean"),
    "Dinov2WithRegistersForImageClassification": Architecture(
        "Dinov2WithRegistersConfig", "dinov2_with_registers", "token+mean"
    ),
    "DINOv3ViTModel": Architecture("DINOv3ViTConfig", "", "pooled"),
    "CLIPVisionModel": Architecture("CLIPVisionConfig", "", "pooled"),
    "CLIPForImageClassification": Architecture("CLIPVisionConfig", "vision_model", "mean", "CLIPConfig"),
    "SiglipVisionModel": Architecture("SiglipVisionConfig", "", "pooled"),
    "SiglipForImageClassification": Architecture("SiglipVisionConfig", "vision_model", "mean", "SiglipConfig"),
    "Siglip2VisionModel": Architecture("Siglip2VisionConfig", "", "pooled"),
    "Siglip2ForImageClassification": Architecture("Siglip2VisionConfig", "vision_model", "mean", "Siglip2Config"),
}
# For checkpoints whose own class is none of these, by the type of their vision configuration.
BY_TYPE = {
    "vit": "ViTForImageClassification",
    "deit": "DeiTForImageClassification",
    "dinov2": "Dinov2ForImageClassification",
    "dinov2_with_registers": "Dinov2WithRegistersForImageClassification",
    "dinov3_vit": "DINOv3ViTModel",
    "clip_vision_model": "CLIPVisionModel",
    "siglip_vision_model": "SiglipVisionModel",
    "siglip2_vision_model": "Siglip2VisionModel",
}


class HubModel(nn.Module):
    """A model with a head; ``model`` is transformers' own, ``head`` stands behind one that has none.

    Args:
        architecture: a key of `ARCHITECTURES`.
        config: fields of the vision model's configuration.
        classes: that the head tells apart.

    Raises:
        BundleError: there is no such architecture, or its configuration has no such field.
    """

    def __init__(self, architecture: str, config: dict[str, Any], classes: int) -> None:
        super().__init__()
        kind = ARCHITECTURES.get(architecture) if isinstance(architecture, str) else None
        if kind is None:
            raise BundleError(f"architecture: expected one of {', '.join(ARCHITECTURES)}, got {architecture!r}")
        known = set(config_fields(architecture))
        # transformers takes any field that it does not know.
        if unknown := sorted(config.keys() - known):
            raise BundleError(f"config: {kind.config} has no {', '.join(unknown)}")
        if type(classes) is not int or classes < 1:
            raise BundleError(f"classes: expected a whole number above 0, got {classes!r}")
        whole = getattr(transformers, kind.config)(**config)
        if kind.whole is not None:
            whole = getattr(transformers, kind.whole)(vision_config=whole.to_dict())
        whole.num_labels = classes
        self._hold(getattr(transformers, architecture)(whole), classes)

    def _hold(self, model: Any, classes: int) -> None:
        self.architecture = type(model).__name__
        self.model = model
        self.classes = classes
        is_pooled = classes and ARCHITECTURES[self.architecture].pool == "pooled"
        self.head: Any = nn.Linear(self.vision.config.hidden_size, classes) if is_pooled else None

    @classmethod
    def around(cls, model: nn.Module) -> Self:
        """The same for a model in memory, which stays what it is; without a head of its own it has none."""
        held = cls.__new__(cls)
        nn.Module.__init__(held)
        has_head = ARCHITECTURES[type(model).__name__].pool != "pooled"
        own: Any = model
        held._hold(model, int(own.config.num_labels) if has_head else 0)
        held.train(model.training)
        return held

    @property
    def vision(self) -> Any:
        """transformers' vision model."""
        base = ARCHITECTURES[self.architecture].base
        return getattr(self.model, base) if base else self.model

    @property
    def grid_size(self) -> int:
        """Patches along one side.

        Raises:
            BundleError: the configuration's image or patch is no square, or the one no multiple of the other.
        """
        config = self.vision.config
        if not hasattr(config, "image_size"):
            side = int(config.num_patches**0.5)
            if side * side != config.num_patches:
                raise BundleError(f"config.num_patches: expected a square number, got {config.num_patches}")
            return side
        size, patch = config.image_size, config.patch_size
        if not isinstance(size, int) or not isinstance(patch, int) or size % patch:
            raise BundleError(f"config.image_size: expected a square of whole patches of {patch}, got {size}")
        return size // patch

    @property
    def image_size(self) -> int:
        """Height and width of the input."""
        return self.grid_size * int(self.vision.config.patch_size)

    def inputs(self, images: Tensor) -> dict[str, Tensor]:
        """The arguments of the model's own forward pass for ``batch x 3 x size x size`` images."""
        if hasattr(self.vision.config, "image_size"):
            return {"pixel_values": images}
        patches = self.patches(images)
        shapes = torch.full((len(images), 2), self.grid_size, device=images.device)
        mask = torch.ones(patches.shape[:2], dtype=torch.int64, device=images.device)
        return {"pixel_values": patches, "pixel_attention_mask": mask, "spatial_shapes": shapes}

    def patches(self, images: Tensor) -> Tensor:
        """SigLIP 2's ``batch x patches x values``, those of one patch by row, column and channel."""
        side, patch = self.grid_size, int(self.vision.config.patch_size)
        cut = images.reshape(images.shape[0], -1, side, patch, side, patch)
        return cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)

    def forward(self, images: Tensor) -> Tensor:
        """The library's own forward pass, and the head where that has none: ``batch x classes`` logits."""
        output = self.model(**self.inputs(images))
        logits: Tensor = output.logits if self.head is None else self.head(output.pooler_output)
        return logits


def config_fields(architecture: str) -> tuple[str, ...]:
    """Names of a vision configuration's own fields, less those of every model of the library."""
    return tuple(getattr(transformers, ARCHITECTURES[architecture].config).__annotations__)
