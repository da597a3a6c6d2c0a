"""What crosses the link, of many images at once, as an eavesdropper receives it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from channel.realisation import complex_noise, keyed_generator, noise_variance
from edge.torch_engine import TorchEngine, Transformed
from offline.measure.evaluator import LINK_ID, request_id_of
from offline.measure.prepared import PreparedImages
from policies.policy import Policy
from thinwire.nn.merging.transformer import rules_for

CHUNK = 2048


@dataclass(frozen=True)
class Frames:
    """The frames of ``n`` images under one policy, padded to the longest.

    Attributes:
        pairs: ``n x N x S x 2`` float32 real and imaginary parts of the symbols; zero for padding.
        counts: ``n`` int64, tokens in each frame.
        origin: ``n x patches`` int64, the token that each patch went into. It never crosses the link: an attacker knows
            that of images that are its own.
    """

    pairs: Tensor
    counts: Tensor
    origin: Tensor

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def valid(self) -> Tensor:
        """``n x N`` bool, false for padding."""
        return torch.arange(self.pairs.shape[1]) < self.counts[:, None]

    @property
    def uses(self) -> float:
        """Mean channel uses."""
        return float(self.counts.double().mean()) * self.pairs.shape[2]

    def take(self, images: Tensor) -> "Frames":
        """Some of the frames, by their int64 indices, without needless padding."""
        counts = self.counts[images]
        return Frames(self.pairs[images, : int(counts.max())], counts, self.origin[images])

    def through_noise(self, snr_db: float | None, generator: torch.Generator) -> "Frames":
        """The frames after AWGN, drawn at random; as they are without an SNR."""
        if snr_db is None:
            return self
        noise = torch.randn(self.pairs.shape, generator=generator) * (noise_variance(snr_db) / 2) ** 0.5
        return Frames(self.pairs + noise * self.valid[..., None, None], self.counts, self.origin)

    def through_keyed_noise(self, snr_db: float | None, names: Sequence[str], seed: int) -> "Frames":
        """The frames after the AWGN that an evaluation keys to each image's name; as they are without an SNR."""
        if snr_db is None:
            return self
        received = self.pairs.clone()
        for row, (name, count) in enumerate(zip(names, self.counts.tolist(), strict=True)):
            generator = keyed_generator(seed, LINK_ID, request_id_of(name), 0)
            noise = complex_noise((count, received.shape[2]), noise_variance(snr_db), generator)
            received[row, :count] += torch.view_as_real(torch.from_numpy(noise))
        return Frames(received, self.counts, self.origin)

    def save(self, path: Path) -> None:
        """Keep them on disk."""
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.savez(file, pairs=self.pairs.numpy(), counts=self.counts.numpy(), origin=self.origin.numpy())
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> "Frames":
        """What `save` kept."""
        with np.load(path, allow_pickle=False) as stored:
            return cls(*(torch.from_numpy(stored[name]) for name in ("pairs", "counts", "origin")))


def transmit(
    engine: TorchEngine, pixels: NDArray[np.uint8], policies: Mapping[str, Policy | None], snr_db: float
) -> dict[str, Frames]:
    """What a device sends of each image under each policy, before the channel.

    Args:
        engine: the device's side.
        pixels: ``n x size x size x 3``.
        policies: by a label; those of equal thresholds share the device's blocks. For None the unmerged tokens
            themselves are "sent", two of their values to a symbol: what is there before the codec hides anything.
        snr_db: what the encoder assumes.
    """
    parts: dict[str, list[Frames]] = {label: [] for label in policies}
    unmerged = (1.0,) * engine.bundle.steps
    thresholds = {label: unmerged if policy is None else policy.thresholds for label, policy in policies.items()}
    for start in range(0, len(pixels), CHUNK):
        prepared = PreparedImages(engine, pixels[start : start + CHUNK])
        for same in dict.fromkeys(thresholds.values()):
            transformed = list(prepared.transform(rules_for(same)))
            for label, policy in policies.items():
                if thresholds[label] == same:
                    frames = _uncoded(transformed) if policy is None else _encode(engine, transformed, policy, snr_db)
                    parts[label].append(frames)
    return {label: _join(several) for label, several in parts.items()}


def _uncoded(parts: Sequence[tuple[NDArray[np.int64], Transformed]]) -> Frames:
    # Without merging, parts come in the order of the images.
    every = [part.tokens for _, part in parts]
    return _join(
        [Frames(tokens.x.reshape(*tokens.x.shape[:2], -1, 2), tokens.counts, tokens.origin) for tokens in every]
    )


def _encode(
    engine: TorchEngine, parts: Sequence[tuple[NDArray[np.int64], Transformed]], policy: Policy, snr_db: float
) -> Frames:
    rate = policy.symbols_per_token
    rows = [
        (image, frame)
        for images, part in parts
        for image, frame in zip(
            images.tolist(), engine.transmit(part, rate, snr_db, None, policy.max_tokens), strict=True
        )
    ]
    frames = [frame for _, frame in sorted(rows, key=lambda row: row[0])]
    counts = torch.tensor([len(frame.symbols) for frame in frames])
    pairs = torch.zeros(len(frames), int(counts.max()), rate, 2)
    for row, frame in enumerate(frames):
        pairs[row, : len(frame.symbols)] = torch.view_as_real(torch.from_numpy(np.ascontiguousarray(frame.symbols)))
    return Frames(pairs, counts, torch.from_numpy(np.stack([frame.merge_map for frame in frames])))


def _join(parts: Sequence[Frames]) -> Frames:
    longest = max(part.pairs.shape[1] for part in parts)
    padded = [torch.nn.functional.pad(part.pairs, (0, 0, 0, 0, 0, longest - part.pairs.shape[1])) for part in parts]
    return Frames(
        torch.cat(padded), torch.cat([part.counts for part in parts]), torch.cat([part.origin for part in parts])
    )


def batches(count: int, size: int, generator: np.random.Generator) -> Iterator[Tensor]:
    """Indices of all images in a random order, in whole batches."""
    order = torch.from_numpy(generator.permutation(count))
    for start in range(0, count - size + 1, size):
        yield order[start : start + size]
