"""What merging, its cost and the evaluator need of a transformer, and nothing else."""

from typing import Any, Protocol, Self, runtime_checkable

from torch import Tensor, nn

from thinwire.macs import LayerMacs
from thinwire.nn.attention import Attended


@runtime_checkable
class Tower(Protocol):
    """A transformer that the device runs layer by layer.

    A layer is attention and MLP, each with its own residual, so that tokens can merge between the two or after both.
    Whatever stands before a branch (a norm) or behind it (a scale) belongs to the branch. In evaluation mode only.

    Attributes:
        width: D of the tokens.
        patches: N, patch tokens of one image; of sound, positions in time.
        prefix_tokens: P, class and register tokens that run in front of the patches.
        depth: number of layers that run.
    """

    width: int
    patches: int
    prefix_tokens: int
    depth: int

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> Self:
        """The tower that the ``model`` of a manifest describes, with any weights.

        Raises:
            BundleError: the specification describes none; `build_tower` makes one of whatever else is raised.
        """
        ...

    @property
    def module(self) -> nn.Module:
        """What holds the weights; its state dict is a bundle's ``backbone.safetensors``."""
        ...

    def embed(self, inputs: Tensor) -> Tensor:
        """What enters the first layer.

        Args:
            inputs: a batch of what the tower takes; see `ImageTower` and `SpeechTower`.

        Returns:
            ``batch x (P + N) x D``, prefix first, patches in raster order or in order of time.
        """
        ...

    def attend(self, layer: int, x: Tensor, bias: Tensor | None) -> Attended:
        """The first half of a layer.

        Args:
            layer: its index.
            x: ``batch x n x D`` tokens.
            bias: on the attention logits of each key, as `thinwire.nn.attention.key_bias` gives it.

        Returns:
            as ``output``, ``x`` plus the attention branch; the keys and values that attention used.
        """
        ...

    def mlp(self, layer: int, x: Tensor) -> Tensor:
        """The second half of a layer: ``batch x n x D`` tokens plus the MLP branch."""
        ...

    def embedding_macs(self) -> int:
        """MACs of `embed` for one input, as `thinwire.nn.macs` counts them."""
        ...

    def layer_macs(self, layer: int) -> LayerMacs:
        """What a layer costs."""
        ...


@runtime_checkable
class ImageTower(Tower, Protocol):
    """A tower of ``batch x channels x image_size x image_size`` images, normalised.

    Attributes:
        image_size: height and width of the input in pixels.
        channels: of the input.
    """

    image_size: int
    channels: int


@runtime_checkable
class SpeechTower(Tower, Protocol):
    """A tower of log-mel features, whose tokens stand in a row.

    It takes ``batch x mel_bins x frames``: frames for all its positions, or for fewer, in which case `embed` gives
    fewer tokens (a clip's own length, instead of the padded 30 s). What leaves the last layer is what a decoder reads:
    a final norm of the encoder is part of that layer's second half.

    Attributes:
        mel_bins: features of a frame.
        frames_per_token: frames that one position stands for.
        positions: ``patches x D``, what `embed` adds to say where a token stands.
    """

    mel_bins: int
    frames_per_token: int

    @property
    def positions(self) -> Tensor:
        """See the class."""
        ...

    def embedding_macs(self, positions: int | None = None) -> int:
        """MACs of `embed` for one clip of so many positions, by default all."""
        ...


@runtime_checkable
class RotaryTower(ImageTower, Protocol):
    """A tower whose attention turns queries and keys by where a token stands in the image.

    Attributes:
        rotary: whether it does; a class may serve both kinds.
        grid: ``patches x 3``: 1, row and column of each patch, as `thinwire.nn.towers.rotary.homogeneous_grid` has it.
    """

    rotary: bool

    @property
    def grid(self) -> Tensor:
        """See the class."""
        ...

    def attend_at(self, layer: int, x: Tensor, bias: Tensor | None, centres: Tensor) -> Attended:
        """`attend` with positions.

        Args:
            centres: ``batch x n x 3`` means of the grid over the patches of each token; zeros for the prefix. Keys are
                given as they were before they turned, so that their similarity is not one of places.
        """
        ...


@runtime_checkable
class ClassifyingTower(ImageTower, Protocol):
    """A tower that answers by itself: final norm, pooling and head stand behind its last layer.

    Attributes:
        classes: that the head tells apart.
        reads_patches: whether the head reads any patch, or the prefix alone.
    """

    classes: int
    reads_patches: bool

    def head(self, x: Tensor, weights: Tensor, valid: Tensor) -> Tensor:
        """Final norm, pooling by size, and classifier.

        Args:
            x: ``batch x n x D`` tokens that leave the last layer, those of the prefix first.
            weights: ``batch x n`` share of the patches in each token; any scale.
            valid: ``batch x n`` bool, false for padding.

        Returns:
            ``batch x classes`` logits; where all weights are equal, those of the library's own forward pass.
        """
        ...
