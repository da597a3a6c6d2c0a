"""A network that draws the picture from a frame: which token is where, and what stood there."""

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from thinwire.nn.attention import key_bias, run_block


class InversionNetwork(nn.Module):
    """From the tokens of a frame, whose places nobody sends, to pixels.

    A transformer block across the tokens; then each patch of the picture attends to the tokens, which is a guess of the
    one that it went into and is trained as such; convolutions over the patches draw what was gathered. Beside that the
    whole frame, as one vector, paints a coarse layout, which is all that is left if one token is all that is sent.

    Args:
        symbols_per_token: S.
        patches: of the picture, a square number.
        patch: pixels along the side of one.
        width: of the hidden layers.
        most: tokens of a frame, where that is more than the patches, as with a class token.
    """

    mean: Tensor
    std: Tensor
    mean_image: Tensor

    def __init__(
        self, symbols_per_token: int, patches: int, patch: int, width: int = 64, most: int | None = None
    ) -> None:
        super().__init__()
        self.side = round(patches**0.5)
        values = 2 * symbols_per_token + 2
        # Of what is received in training, so that the layers work at unit scale.
        self.register_buffer("mean", torch.zeros(values))
        self.register_buffer("std", torch.ones(values))
        self.first = nn.Linear(values, width)
        self.rank = nn.Parameter(0.02 * torch.randn(most or patches, width))
        self.block = Block(width, num_heads=4, mlp_ratio=2.0, qkv_bias=True)
        self.norm = nn.LayerNorm(width)
        self.place = nn.Parameter(torch.randn(patches, width))
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.layout = nn.Linear(width, width * (self.side // 2) ** 2)
        self.convolutions = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.to_pixels = nn.Conv2d(width, 3 * patch**2, 3, padding=1)
        # It begins with the mean image.
        for parameter in self.to_pixels.parameters():
            nn.init.zeros_(parameter)
        # Of the attacker's own images; it draws what differs from it.
        side = self.side * patch
        self.register_buffer("mean_image", torch.zeros(3, side, side))
        self.patch = patch

    def features(self, pairs: Tensor, valid: Tensor) -> Tensor:
        """What is known of each token: its symbols, its energy (which tells its size), the number of all."""
        energy = pairs.square().mean((2, 3)).clamp_min(1e-6).log()
        count = valid.sum(1, keepdim=True).to(energy.dtype).log().expand_as(energy)
        return torch.cat((pairs.flatten(2), energy[..., None], count[..., None]), dim=-1)

    def fit_scale(self, pairs: Tensor, valid: Tensor) -> None:
        """Take the scale of the inputs from a sample of them."""
        features = self.features(pairs, valid)[valid]
        self.mean.copy_(features.mean(0))
        self.std.copy_(features.std(0).clamp_min(1e-3))

    def forward(self, pairs: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Draw.

        Args:
            pairs: ``batch x N x S x 2`` received symbols.
            valid: ``batch x N`` bool, false for padding.

        Returns:
            ``batch x 3 x height x width`` pixels, about in [0, 1], and ``batch x patches x N`` logits of the token that
            each patch went into.
        """
        x = self.first((self.features(pairs, valid) - self.mean) / self.std) + self.rank[: pairs.shape[1]]
        x = self.norm(run_block(self.block, x, key_bias(valid, None, x.dtype)))
        logits = self.place @ self.key(x).transpose(1, 2) / x.shape[-1] ** 0.5
        logits = logits.masked_fill(~valid[:, None], float("-inf"))
        gathered = logits.softmax(-1) @ self.value(x) + self.place
        grid = gathered.transpose(1, 2).unflatten(-1, (self.side, self.side))
        whole = (x * valid[..., None]).sum(1) / valid.sum(1, keepdim=True)
        layout = self.layout(whole).unflatten(-1, (-1, self.side // 2, self.side // 2))
        grid = grid + F.interpolate(layout, scale_factor=2, mode="bilinear")
        for convolution in self.convolutions:
            grid = grid + convolution(F.gelu(grid))
        return self.mean_image + F.pixel_shuffle(self.to_pixels(F.gelu(grid)), self.patch), logits
