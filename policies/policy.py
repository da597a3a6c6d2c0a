"""What a policy is, what was measured of one, and the JSON form of both."""

import hashlib
import json
import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field

from thinwire.channels import Channel
from thinwire.errors import InvalidRequestError
from thinwire.records import Count, JsonObject, NotNegative, Real, Score, Share, Text, finite, read, record

CONTROL_RATE = 1.0
# What chance explains of a difference, in its standard errors.
STANDARD_ERRORS = 2.0


@dataclass(frozen=True)
class Policy:
    """How hard to merge and how many symbols to spend.

    Attributes:
        thresholds: one cosine similarity per layer before the split; a layer merges what is more similar, and a
            threshold of 1 or more skips it.
        symbols_per_token: complex symbols per transmitted token.
        max_tokens: the most tokens to send, class and register tokens included; what leaves the last layer is merged
            further until it fits. None: no limit.

    Raises:
        InvalidRequestError: a threshold is not finite or below -1, or the rate or the limit is not positive.
    """

    thresholds: tuple[float, ...]
    symbols_per_token: int
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        for layer, threshold in enumerate(self.thresholds):
            if not math.isfinite(threshold) or threshold < -1:
                raise InvalidRequestError(f"threshold {layer} must be a number of at least -1, got {threshold}")
        if self.symbols_per_token < 1:
            raise InvalidRequestError(f"symbols_per_token must be at least 1, got {self.symbols_per_token}")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise InvalidRequestError(f"max_tokens must be at least 1, got {self.max_tokens}")

    @classmethod
    def create(cls, thresholds: Sequence[float], symbols_per_token: int, max_tokens: int | None = None) -> "Policy":
        """A policy in canonical form: thresholds to six decimals, and 1 for all that skip their layer."""
        canonical = tuple(min(1.0, round(float(value), 6)) for value in thresholds)
        return cls(canonical, int(symbols_per_token), None if max_tokens is None else int(max_tokens))

    @classmethod
    def unmerged(cls, layers: int, symbols_per_token: int) -> "Policy":
        """The policy that merges nothing."""
        return cls((1.0,) * layers, symbols_per_token)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, as hex; a limit that is not set is not part of it."""
        content: dict[str, object] = {
            "symbols_per_token": self.symbols_per_token,
            "thresholds": [float(value) + 0.0 for value in self.thresholds],
        }
        if self.max_tokens is not None:
            content["max_tokens"] = self.max_tokens
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def id(self) -> str:
        """Short name: "p-" and the first ten digits of the digest."""
        return f"p-{self.digest[:10]}"


@record("channel")
class ChannelForm:
    """The JSON form of the channel that a policy was measured on: receivers knew it perfectly.

    Attributes:
        model: as for `Channel`.
        snr_db: as for `Channel`.
        control_rate: bits of side information per channel use, as `thinwire.frames.count_uses` has them.
    """

    model: Text
    snr_db: Real
    control_rate: Annotated[Real, Field(ge=CONTROL_RATE, le=CONTROL_RATE)] = CONTROL_RATE

    def read(self) -> Channel:
        """The channel."""
        return Channel(self.model, self.snr_db)


def channel_json(channel: Channel) -> dict[str, Any]:
    """The JSON form of a channel; see `ChannelForm`."""
    return asdict(ChannelForm(channel.model, channel.snr_db))


@record("objectives")
class Objectives:
    """What was measured, over ``n`` images.

    Attributes:
        accuracy: share of right answers with every frame capped at ``channel_uses_p95``; of a transcript 1 less its
            errors for each word that was said, which may be below 0.
        accuracy_se: its standard error.
        n: number of samples.
        edge_gmacs: mean cost of the device, in 10^9 multiply-accumulates.
        channel_uses: mean channel uses of a frame, all parts together.
        channel_uses_p95: the 95% quantile of the channel uses.
        tokens: mean tokens sent.
        tokens_sd: their standard deviation.
        capped_share: share of the frames that were merged further to fit the cap.
        accuracy_change: accuracy less that of the unmerged reference on the same images, channel and noise.
        accuracy_change_se: standard error of that paired difference.
        latency_ms: time of one image on the device that measured it; None where that was not asked for.
        latency_ms_se: its standard error.
    """

    accuracy: Score
    accuracy_se: NotNegative
    n: Count
    edge_gmacs: NotNegative
    channel_uses: NotNegative
    channel_uses_p95: Count
    tokens: NotNegative
    tokens_sd: NotNegative
    capped_share: Share
    accuracy_change: Real
    accuracy_change_se: NotNegative
    latency_ms: NotNegative | None = None
    latency_ms_se: NotNegative | None = None


@record("accuracy_by_snr")
class AccuracyAt:
    """What a policy achieves at one SNR, and by how much that differs from the unmerged reference at the same SNR.

    Attributes:
        snr_db: average SNR (Es/N0) in dB.
        accuracy: as in `Objectives`.
        accuracy_se: its standard error.
        change: accuracy less the unmerged reference's, same images, same noise.
        change_se: standard error of that paired difference.
    """

    snr_db: Real
    accuracy: Score
    accuracy_se: NotNegative
    change: Real
    change_se: NotNegative


@record()
class MeasuredPolicy:
    """A policy, what it was found for, what was measured of it, and where the figures come from.

    Attributes:
        policy: in canonical form, as `Policy.create` makes it.
        bundle_digest: the bundle (backbone and codec) that it was measured with.
        channel: the channel that ``objectives`` were measured on.
        objectives: the figures at ``channel.snr_db``.
        accuracy_by_snr: the same policy on the same channel model at several SNRs, in any order; kept by rising SNR.
        sensitive_below_db: below this SNR its accuracy falls faster than that of the unmerged reference, by more than
            chance; see `offline.measure.meter.sensitive_below`. None: it does not, as far as was measured.
        provenance: data digest, split, seed, versions; anything that JSON holds.

    Raises:
        InvalidRequestError: a figure is out of range, an SNR stands twice, the policy is not canonical, or the
            provenance is no JSON.
    """

    policy: Policy
    bundle_digest: Text
    channel: Channel
    objectives: Objectives
    accuracy_by_snr: tuple[AccuracyAt, ...] = ()
    sensitive_below_db: Real | None = None
    provenance: JsonObject = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        policy = self.policy
        if Policy.create(policy.thresholds, policy.symbols_per_token, policy.max_tokens).digest != policy.digest:
            # Otherwise one behaviour would have two names, and a digest would not survive JSON (1 against 1.0).
            raise InvalidRequestError(f"{self.policy} is not in canonical form: make it with Policy.create")
        curve = tuple(sorted(self.accuracy_by_snr, key=lambda point: point.snr_db))
        snrs = [point.snr_db for point in curve]
        if len(set(snrs)) != len(snrs):
            raise InvalidRequestError(f"accuracy_by_snr has an SNR twice: {snrs}")
        object.__setattr__(self, "accuracy_by_snr", curve)

    def accuracy_at(self, snr_db: float) -> float:
        """Accuracy at an SNR, interpolated linearly in dB over ``accuracy_by_snr`` and constant beyond its ends.

        Without that curve it is ``objectives.accuracy`` at every SNR.

        Raises:
            InvalidRequestError: the SNR is not finite.
        """
        return self._at(snr_db, "accuracy", self.objectives.accuracy)

    def accuracy_se_at(self, snr_db: float) -> float:
        """Standard error of `accuracy_at`, interpolated in the same way.

        Between two points that is the most it can be: that of two estimates that err alike, as those of the same images
        mostly do.

        Raises:
            InvalidRequestError: the SNR is not finite.
        """
        return self._at(snr_db, "accuracy_se", self.objectives.accuracy_se)

    def is_sensitive_at(self, snr_db: float) -> bool:
        """Whether an SNR is below ``sensitive_below_db``."""
        return self.sensitive_below_db is not None and snr_db < self.sensitive_below_db

    def _at(self, snr_db: float, name: str, without_curve: float) -> float:
        finite("snr_db", snr_db)
        points = self.accuracy_by_snr
        if not points:
            return without_curve
        # By hand: a choice asks this of every policy of a front, and numpy takes ten times as long for so few points.
        place = bisect_right(points, snr_db, key=lambda point: point.snr_db)
        low, high = points[max(place - 1, 0)], points[min(place, len(points) - 1)]
        below: float = getattr(low, name)
        above: float = getattr(high, name)
        if low is high:
            return below
        return below + (snr_db - low.snr_db) / (high.snr_db - low.snr_db) * (above - below)

    def to_json(self) -> dict[str, Any]:
        """The JSON form, which `from_json` reads and lists of policies show."""
        return {
            "id": self.policy.id,
            "digest": self.policy.digest,
            "thresholds": list(self.policy.thresholds),
            "symbols_per_token": self.policy.symbols_per_token,
            "max_tokens": self.policy.max_tokens,
            "objectives": asdict(self.objectives),
            "accuracy_by_snr": [asdict(point) for point in self.accuracy_by_snr],
            "sensitive_below_db": self.sensitive_below_db,
            "channel": channel_json(self.channel),
            "bundle_digest": self.bundle_digest,
            "provenance": self.provenance,
        }

    @classmethod
    def from_json(cls, content: object) -> "MeasuredPolicy":
        """Read the JSON form.

        Raises:
            InvalidRequestError: a field is missing, unknown or wrong, or the id or the digest is not that of the
                thresholds and the rate.
        """
        form = read(_Form, content, "policy")
        policy = Policy(tuple(map(float, form.thresholds)), form.symbols_per_token, form.max_tokens)
        if (form.id, form.digest) != (policy.id, policy.digest):
            raise InvalidRequestError(
                f"policy {form.id!r} with digest {form.digest!r} was altered: "
                f"its thresholds, rate and limit are those of {policy.id}, digest {policy.digest}"
            )
        kept = ("bundle_digest", "objectives", "accuracy_by_snr", "sensitive_below_db", "provenance")
        return cls(policy, channel=form.channel.read(), **{name: getattr(form, name) for name in kept})


@record()
class _Form:
    """What stands in a file."""

    id: str
    digest: str
    thresholds: tuple[Real, ...]
    symbols_per_token: Count
    max_tokens: Count | None
    objectives: Objectives
    accuracy_by_snr: tuple[AccuracyAt, ...]
    sensitive_below_db: Real | None
    channel: ChannelForm
    bundle_digest: Text
    provenance: JsonObject
