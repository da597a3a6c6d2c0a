"""Tokens of clips to train a JSCC pair on: merged at many thresholds, computed once and kept on disk."""

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from cloud.speech.model import Clip, SpeechModel
from offline.train.running import digest_of, weights_digest
from offline.train.token_sets import Drawn
from thinwire.audio import SAMPLE_RATE, SAMPLES_PER_POSITION, log_mel
from thinwire.bundle import Merging
from thinwire.errors import InvalidRequestError, ThinwireError
from thinwire.nn.merging.neighbours import merge_neighbours_down_to
from thinwire.nn.merging.tokens import Tokens
from thinwire.nn.merging.transformer import embed, rules_for, run_layers
from thinwire.nn.towers.interface import SpeechTower
from thinwire.records import Count, Share, record
from thinwire.transcription import TranscriptionOptions

log = logging.getLogger(__name__)
# Greedy, once, and no more than somebody says in a window.
ONCE = TranscriptionOptions(temperatures=(0.0,), max_new_tokens=96)
FEWEST_TOKENS = 8
SKIPPED = 0.5
# Longer sets are mostly cut to runs of this length, which cost less.
RUN, CUT_SHARE = 512, 0.75


@record("clips")
class ClipRecipe:
    """What clips a pair learns from.

    Attributes:
        count: how many.
        digits: fewest and most of a clip of recorded ones.
        read: share of those that are sentences, which a synthesiser reads; the others are recorded digits.
        unmerged: share of those of which nothing merges.
        front: lowest and highest threshold of the others in front of the first layer, where tokens merge there.
        thresholds: lowest and highest of the layers', drawn for each about one of the clip's own.

    Raises:
        InvalidRequestError: the most digits are fewer than the fewest.
    """

    count: Count
    unmerged: Share
    front: tuple[Share, Share]
    thresholds: tuple[Share, Share]
    digits: tuple[Count, Count] = (1, 40)
    read: Share = 0.0

    def __post_init__(self) -> None:
        if self.digits[0] > self.digits[1]:
            raise InvalidRequestError(f"digits: expected the fewest first, got {list(self.digits)}")


@dataclass(frozen=True)
class HeardClip:
    """One clip.

    Attributes:
        tokens: ``N x D`` float16, what a device sends.
        sizes: ``N`` float32, positions in each.
        text: ids of what the model writes of them, without its beginning and its end.
    """

    tokens: Tensor
    sizes: Tensor
    text: tuple[int, ...]


def hear(
    tower: SpeechTower,
    speech: SpeechModel,
    merging: Merging,
    recipe: ClipRecipe,
    make: Callable[[np.random.Generator], NDArray[np.float32]],
    seed: int,
    kept: Path,
    batch: int = 16,
) -> list[HeardClip]:
    """Run clips through a tower and let the model write down what it hears, unmerged or merged.

    Args:
        tower: all of whose layers the device runs.
        speech: the model, of the same weights.
        merging: how layers merge.
        recipe: how many clips, and how they merge.
        make: samples at 16 kHz from a generator; keyed by the seed and the clip's number.
        seed: of all that is drawn.
        kept: folder where batches are kept, so that a second call goes on where the first was stopped.
        batch: clips that are written down together.
    """
    # The first clip tells one set of recordings from another.
    first = hashlib.sha256(make(np.random.default_rng((seed, 0))).tobytes()).hexdigest()
    kept /= digest_of(weights_digest(tower.module), merging, recipe, seed, batch, first)
    kept.mkdir(parents=True, exist_ok=True)
    clips: list[HeardClip] = []
    for start in range(0, recipe.count, batch):
        path = kept / f"{start}.safetensors"
        if not path.exists():
            numbers = range(start, min(start + batch, recipe.count))
            made = _hear(tower, speech, merging, recipe, make, [(seed, number) for number in numbers])
            partial = path.with_suffix(".partial")
            save_file({f"{name}.{i}": value for i, one in enumerate(made) for name, value in _stored(one)}, partial)
            partial.replace(path)
            log.info("tokens of %d of %d clips", numbers.stop, recipe.count)
        stored = load_file(path)
        clips += [
            HeardClip(stored[f"tokens.{i}"], stored[f"sizes.{i}"], tuple(stored[f"text.{i}"].tolist()))
            for i in range(len(stored) // 3)
        ]
    return clips


def _stored(clip: HeardClip) -> list[tuple[str, Tensor]]:
    return [("tokens", clip.tokens), ("sizes", clip.sizes), ("text", torch.tensor(clip.text, dtype=torch.int64))]


@torch.inference_mode()
def _hear(
    tower: SpeechTower,
    speech: SpeechModel,
    merging: Merging,
    recipe: ClipRecipe,
    make: Callable[[np.random.Generator], NDArray[np.float32]],
    keys: Sequence[tuple[int, int]],
) -> list[HeardClip]:
    device = next(tower.module.parameters()).device
    heard: list[tuple[Tensor, Tensor]] = []
    asked = []
    for key in keys:
        generator = np.random.default_rng(key)
        audio = make(generator)[: SAMPLES_PER_POSITION * tower.patches]
        features = torch.from_numpy(log_mel(audio, tower.mel_bins, tower.patches))[None]
        rules = rules_for(_thresholds(recipe, tower.depth, merging.front, generator))
        tokens, _ = run_layers(tower, embed(tower, features.to(device)), rules, merging)
        heard.append((tokens.x[0].half().cpu(), tokens.sizes[0].cpu()))
        asked.append(Clip(tokens.x[0].half().float(), tokens.sizes[0], len(audio) / SAMPLE_RATE, ONCE))
    clips = []
    for (x, sizes), said in zip(heard, speech.transcribe(asked), strict=True):
        if isinstance(said, ThinwireError):
            raise said
        clips.append(HeardClip(x.clone(), sizes.clone(), tuple(token for one in said.segments for token in one.tokens)))
    return clips


def _thresholds(recipe: ClipRecipe, depth: int, front: bool, generator: np.random.Generator) -> list[float]:
    if generator.random() < recipe.unmerged:
        return [1.0] * (front + depth)
    low, high = recipe.thresholds
    about = generator.uniform(low, high)
    layers: list[float] = np.clip(about + generator.normal(0, 0.02, depth), low, 1.0).tolist()
    # Some layers of a policy merge nothing.
    layers = [1.0 if generator.random() < SKIPPED else threshold for threshold in layers]
    return [generator.uniform(*recipe.front), *layers] if front else layers


class HeardTokens:
    """Clips as sets of tokens; see `offline.train.token_sets.TokenSets`.

    Half of those that are drawn merge further, down to a number of tokens, as a cap makes them; of long ones
    mostly a run is drawn.

    Args:
        clips: at least one.
        weight: of the average when tokens merge.
    """

    def __init__(self, clips: Sequence[HeardClip], weight: str) -> None:
        self._clips = clips
        self._weight = weight
        content = hashlib.sha256()
        for clip in clips:
            content.update(clip.tokens.numpy().tobytes())
            content.update(repr(clip.text).encode())
        self._digest = content.hexdigest()

    @property
    def key(self) -> object:
        """See `TokenSets`."""
        return self._digest

    def __len__(self) -> int:
        return len(self._clips)

    def rows(self) -> Tensor:
        """See `TokenSets`; long clips count no more than short ones."""
        return torch.cat([clip.tokens[:: max(1, len(clip.tokens) // 64)] for clip in self._clips]).float()

    def batches(self, size: int, generator: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        """See `TokenSets`; clips of like lengths meet, so that little is padded."""
        lengths = np.array([len(clip.tokens) for clip in self._clips])
        order = np.argsort(lengths * np.exp(generator.uniform(-0.3, 0.3, len(lengths))), kind="stable")
        full = len(order) // size
        # Those that are left over are others each time.
        order = np.delete(order, generator.choice(len(order), len(order) - full * size, replace=False))
        for step in generator.permutation(full):
            yield order[step * size : (step + 1) * size]

    def draw(self, items: NDArray[np.int64], generator: np.random.Generator) -> Drawn:
        """See `TokenSets`."""
        clips = [self._clips[item] for item in items.tolist()]
        if generator.random() < CUT_SHARE:
            clips = [_run(clip, generator) for clip in clips]
        lengths = torch.tensor([len(clip.tokens) for clip in clips])
        x = pad_sequence([clip.tokens.float() for clip in clips], batch_first=True)
        sizes = pad_sequence([clip.sizes for clip in clips], batch_first=True, padding_value=1.0)
        tokens = Tokens.from_embedding(x, 0)
        limits = [
            int(np.exp(generator.uniform(np.log(FEWEST_TOKENS), np.log(max(FEWEST_TOKENS + 1, length)))))
            if generator.random() < 0.5
            else length
            for length in lengths.tolist()
        ]
        tokens = Tokens(tokens.prefix, x, lengths, sizes, tokens.origin, tokens.margin)
        tokens = merge_neighbours_down_to(tokens, torch.tensor(limits), self._weight).trimmed()
        valid = tokens.valid
        # A token of silence, however long, is to be no better than one of speech.
        return Drawn(tokens.x, torch.where(valid, tokens.sizes, 1.0), valid, valid.float())


def _run(clip: HeardClip, generator: np.random.Generator) -> HeardClip:
    start = int(generator.integers(max(0, len(clip.tokens) - RUN) + 1))
    return HeardClip(clip.tokens[start : start + RUN], clip.sizes[start : start + RUN], clip.text)
