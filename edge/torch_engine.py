"""The edge engine in torch: one image or clip, or a batch, from pixels or features to symbols."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from edge.engine import EdgeCost, Encoded, check_features, check_finite, check_policy, token_limits
from policies.policy import Policy
from thinwire.bundle import Bundle, Merging
from thinwire.images import normalise
from thinwire.nn.codec.encoder import JsccEncoder
from thinwire.nn.codec.encoders import build_encoder
from thinwire.nn.merging.matching import Rule, merge_down_to
from thinwire.nn.merging.neighbours import merge_neighbours_down_to
from thinwire.nn.merging.tokens import Tokens
from thinwire.nn.merging.transformer import embed, rules_for, run_layers
from thinwire.nn.towers.interface import ImageTower, SpeechTower, Tower
from thinwire.nn.weights import load_part, load_tower


@dataclass(frozen=True)
class Transformed:
    """A batch after the device's blocks.

    Attributes:
        tokens: what leaves the last block on the device, without the class tokens that the head discards.
        counts: ``batch x (steps + 1)`` patch tokens that enter the first block and leave each; see `run_layers`.
        merged: for each step, whether it matched at all.
    """

    tokens: Tokens
    counts: Tensor
    merged: tuple[bool, ...]


class TorchEngine:
    """Runs the blocks before the split, merges, and encodes; see `edge.engine.Engine`.

    Args:
        bundle: says how.
        tower: of images or of speech; its blocks from the split on are not used.
        encoder: the JSCC encoder.
    """

    def __init__(self, bundle: Bundle, tower: Tower, encoder: JsccEncoder) -> None:
        # Before anything runs: batch normalisation in training mode would learn from what the cost is counted on.
        tower.module.eval()
        self.bundle = bundle
        self.tower = tower
        self.encoder = encoder.eval()
        self.cost = count_edge(tower, bundle.split_layer, bundle.merging, encoder, bundle.prefix_tokens)
        self._device = next(tower.module.parameters()).device

    @classmethod
    def load(cls, bundle: Bundle, device: str = "cpu") -> "TorchEngine":
        """The engine with the weights of a bundle, on a device of torch.

        Raises:
            BundleError: the weights are not those that the manifest describes.
        """
        encoder = load_part(bundle, "encoder", lambda: build_encoder(bundle.codec, bundle.width))
        tower = load_tower(bundle)
        tower.module.to(device)
        return cls(bundle, tower, encoder.to(device))

    @property
    def mel_bins(self) -> int | None:
        """See `edge.engine.Engine`."""
        return self.tower.mel_bins if isinstance(self.tower, SpeechTower) else None

    @torch.inference_mode()
    def embed(self, inputs: NDArray[Any]) -> Tokens:
        """The tokens of ``batch x size x size x 3`` pixels, or of features, that enter the first block."""
        if isinstance(self.tower, ImageTower):
            inputs = normalise(inputs, self.bundle.preprocessing)
        return embed(self.tower, torch.from_numpy(inputs).to(self._device))

    @torch.inference_mode()
    def run(
        self, tokens: Tokens, rules: Sequence[Rule | None], first: int = 0, margin_of: Sequence[float] | None = None
    ) -> tuple[Tokens, Tensor]:
        """Run blocks from the ``first`` on, as many as there are rules; see `run_layers`."""
        return run_layers(self.tower, tokens, rules, self.bundle.merging, margin_of, first)

    def to_send(self, tokens: Tokens) -> Tokens:
        """What leaves the last block, less the class tokens that ran and that the head discards."""
        return tokens.with_prefix(self.bundle.prefix_tokens)

    def transform(
        self,
        inputs: NDArray[Any],
        rules: Sequence[Rule | None],
        margin_of: Sequence[float] | None = None,
    ) -> Transformed:
        """Run embedding and blocks, merging by a rule per layer.

        Args:
            inputs: ``batch x size x size x 3`` pixels, or ``batch x mel_bins x frames`` features.
            rules: one per layer before the split, and one before those for a merge in front.
            margin_of: thresholds of which to follow the margin; see `run_layers`.

        Raises:
            ValueError: the number of rules is another.
        """
        if len(rules) != self.bundle.steps:
            raise ValueError(f"expected {self.bundle.steps} rules, got {len(rules)}")
        tokens, counts = self.run(self.embed(inputs), rules, margin_of=margin_of)
        return Transformed(self.to_send(tokens), counts, tuple(rule is not None for rule in rules))

    @torch.inference_mode()
    def transmit(
        self,
        transformed: Transformed,
        symbols_per_token: int,
        snr_db: float,
        max_channel_uses: int | None = None,
        max_tokens: int | None = None,
    ) -> list[Encoded]:
        """Merge further where the policy's limit or the cap asks for it, and encode.

        Raises:
            BudgetError: the cap is under the cost of one token.
            InvalidRequestError: so is the policy's limit.
        """
        tokens = transformed.tokens
        prefix = tokens.prefix.shape[1]
        present = prefix + tokens.x.shape[1]
        wanted, most = token_limits(present, self.least_tokens, max_tokens, symbols_per_token, max_channel_uses)
        before = tokens.counts.clamp_max(wanted - prefix)
        if most < present:
            tokens = self._merge_down_to(tokens, most)
        x = torch.cat((tokens.prefix, tokens.x), dim=1)
        valid = torch.cat((tokens.valid.new_ones(tokens.prefix.shape[:2]), tokens.valid), dim=1)
        batch = len(x)
        snr = torch.full((batch,), float(snr_db), device=x.device)
        rate = torch.full((batch,), symbols_per_token, device=x.device)
        symbols = self.encoder(x, tokens.all_sizes, valid, snr, rate)[..., :symbols_per_token].cpu().numpy()
        counts, after = transformed.counts.cpu().numpy(), tokens.counts.cpu().numpy()
        gmacs = self.cost.gmacs(counts, transformed.merged, after)
        sizes = tokens.all_sizes.round().long().cpu().numpy()
        origin = (tokens.origin + prefix).cpu().numpy()
        capped = after < before.cpu().numpy()
        return [
            Encoded(
                symbols=symbols[i, : prefix + after[i]],
                merge_map=origin[i],
                sizes=sizes[i, : prefix + after[i]],
                tokens_per_layer=tuple(int(count) + prefix for count in counts[i, 1:]),
                capped=bool(capped[i]),
                edge_gmacs=float(gmacs[i]),
            )
            for i in range(batch)
        ]

    @property
    def least_tokens(self) -> int:
        """The fewest tokens that can be sent, class and register tokens that are sent included."""
        prefix = self.bundle.prefix_tokens
        # A classifier that reads class tokens alone can do with these.
        reads_it = self.bundle.task == "classify" and not getattr(self.tower, "reads_patches", True)
        return prefix if prefix and reads_it else prefix + 1

    def _merge_down_to(self, tokens: Tokens, limit: int) -> Tokens:
        prefix = tokens.prefix.shape[1]
        limits = torch.full_like(tokens.counts, max(1, limit - prefix))
        down_to = merge_neighbours_down_to if self.bundle.merging.neighbours else merge_down_to
        tokens = down_to(tokens, limits, self.bundle.merging.weight)
        return tokens.without_patches() if limit == prefix else tokens

    def encode(
        self, inputs: NDArray[Any], policy: Policy, snr_db: float, max_channel_uses: int | None = None
    ) -> Encoded:
        """Turn one image or clip into symbols; see `edge.engine.Engine.encode`."""
        check_policy(policy, self.bundle)
        if isinstance(self.tower, SpeechTower):
            check_features(inputs, self.tower.mel_bins, self.tower.patches)
        transformed = self.transform(inputs[None], rules_for(policy.thresholds))
        encoded = self.transmit(transformed, policy.symbols_per_token, snr_db, max_channel_uses, policy.max_tokens)[0]
        check_finite(encoded.symbols)
        return encoded


def count_edge(
    tower: Tower, split_layer: int, merging: Merging, encoder: JsccEncoder | None, sent_prefix: int | None = None
) -> EdgeCost:
    """Count what the device runs.

    Args:
        tower: its layers before ``split_layer`` run on the device.
        split_layer: number of layers on the device.
        merging: how layers merge.
        encoder: the JSCC encoder, or None to leave it out.
        sent_prefix: class and register tokens that are encoded; by default all that run.
    """
    return EdgeCost(
        embedding=tower.embedding_macs(),
        patches=tower.patches if isinstance(tower, SpeechTower) else None,
        layers=tuple(tower.layer_macs(layer) for layer in range(split_layer)),
        merging=merging,
        width=tower.width,
        prefix=tower.prefix_tokens,
        sent_prefix=tower.prefix_tokens if sent_prefix is None else sent_prefix,
        encoder=0 if encoder is None else encoder.macs_per_token(),
        encoder_attention=0 if encoder is None else encoder.attention_width,
    )
