"""What all policies share of the device's work: the images as they enter a layer while nothing has merged yet."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge.torch_engine import TorchEngine, Transformed
from thinwire.bundle import Bundle
from thinwire.nn.merging.matching import Rule
from thinwire.nn.merging.tokens import Tokens

# Images that are sorted together, and those of about the same token count that run together: more of them at once
# leave the processor's cache, fewer waste their padding. And the most tokens of those, which is 8 clips of Whisper's.
CHUNK, GROUP, TOKENS = 512, 32, 12_000


def together(bundle: Bundle) -> int:
    """How many of a bundle's images or clips run at once."""
    return max(1, min(GROUP, TOKENS // (bundle.prefix_tokens + bundle.patches)))


class PreparedImages:
    """Runs an engine over one set of images or clips for many policies.

    Embeddings, and the layers before a policy's first that merges, are computed once and kept. What is left runs in
    groups of images with about the same number of tokens, which are formed anew after every layer that merges.

    Args:
        engine: the device's side.
        inputs: ``n x ...``, as `TorchEngine.embed` takes them.
        max_bytes: the most memory for what is kept; what finds no room is computed again each time.
    """

    def __init__(self, engine: TorchEngine, inputs: NDArray[Any], max_bytes: int = 1 << 30) -> None:
        self._engine = engine
        self._inputs = inputs
        self._group = together(engine.bundle)
        bundle = engine.bundle
        image_bytes = 4 * bundle.width * (engine.tower.prefix_tokens + bundle.patches)
        self._most_kept = max_bytes // max(1, image_bytes * len(inputs))
        # By layer, the one that was used last at the end.
        self._kept: dict[int, Tensor] = {}

    def transform(self, rules: Sequence[Rule | None]) -> Iterator[tuple[NDArray[np.int64], Transformed]]:
        """The images after the device's blocks, merging by a rule per layer.

        Yields:
            indices of some images and what became of them; every image comes once.
        """
        first = next((layer for layer, rule in enumerate(rules) if rule is not None), len(rules))
        merged = tuple(rule is not None for rule in rules)
        for start, embedded in self._entering(first):
            yield from self._run(start, embedded, rules, first, merged)

    @torch.inference_mode()
    def _run(
        self, start: int, embedded: Tensor, rules: Sequence[Rule | None], first: int, merged: tuple[bool, ...]
    ) -> Iterator[tuple[NDArray[np.int64], Transformed]]:
        tokens = Tokens.from_embedding(embedded, self._engine.tower.prefix_tokens)
        counts = tokens.counts[:, None].repeat(1, len(rules) + 1)
        order = torch.arange(len(embedded), device=embedded.device)
        groups = list(zip(torch.split(order, self._group), tokens.split(self._group), strict=True))
        for layer in range(first, len(rules)):
            for position, (members, group) in enumerate(groups):
                after, seen = self._engine.run(group, rules[layer : layer + 1], layer)
                groups[position] = members, after
                counts[members, layer + 1] = seen[:, 1]
            if rules[layer] is not None:
                groups = self._regroup(groups)
        for members, group in groups:
            yield start + members.cpu().numpy(), Transformed(self._engine.to_send(group), counts[members], merged)

    def _entering(self, layer: int) -> Iterator[tuple[int, Tensor]]:
        """Chunks of ``images x (P + N) x D`` as they enter a layer, with the index of their first image."""
        nearest = max((kept for kept in self._kept if kept <= layer), default=None)
        if nearest is not None:
            # Used last, so dropped last.
            self._kept[nearest] = self._kept.pop(nearest)
        chunks = []
        for start in range(0, len(self._inputs), CHUNK):
            stop = start + CHUNK
            x = self._embed(self._inputs[start:stop]) if nearest is None else self._kept[nearest][start:stop]
            x = self._advance(x, nearest or 0, layer)
            chunks.append(x)
            yield start, x
            if not self._most_kept:
                chunks.clear()
        if layer not in self._kept and self._most_kept:
            # The embeddings stay longest: everything can be computed from them.
            for oldest in [kept for kept in self._kept if kept][: max(0, len(self._kept) + 1 - self._most_kept)]:
                del self._kept[oldest]
            if len(self._kept) < self._most_kept:
                self._kept[layer] = torch.cat(chunks)

    @torch.inference_mode()
    def _embed(self, inputs: NDArray[Any]) -> Tensor:
        starts = range(0, len(inputs), self._group)
        embedded = [self._engine.embed(inputs[start : start + self._group]) for start in starts]
        return torch.cat([torch.cat((tokens.prefix, tokens.x), dim=1) for tokens in embedded])

    @torch.inference_mode()
    def _advance(self, x: Tensor, first: int, layer: int) -> Tensor:
        if first == layer:
            return x
        advanced = []
        for group in torch.split(x, self._group):
            tokens = Tokens.from_embedding(group, self._engine.tower.prefix_tokens)
            after, _ = self._engine.run(tokens, [None] * (layer - first), first)
            advanced.append(torch.cat((after.prefix, after.x), dim=1))
        return torch.cat(advanced)

    def _regroup(self, groups: Sequence[tuple[Tensor, Tokens]]) -> list[tuple[Tensor, Tokens]]:
        """The same images in groups of about the same number of tokens, without needless padding."""
        members = torch.cat([group for group, _ in groups])
        tokens = Tokens.concatenate([group for _, group in groups])
        order = tokens.counts.argsort(stable=True)
        return [(members[part], tokens.take(part).trimmed()) for part in torch.split(order, self._group)]
