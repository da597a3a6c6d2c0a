"""Answers of ``POST /v1/audio/transcriptions`` as ``verbose_json``: beside OpenAI's fields the link's accounts.

Pure functions: nothing is sent.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from thinwire.rest.explanation import Explain
from thinwire.rest.schemas import ChosenPolicyBody, CostBody, LinkBody, TimingsBody

if TYPE_CHECKING:
    from thinwire.audio import Transcript


class SegmentBody(BaseModel):
    """What was said in one stretch of a clip; the fields are OpenAI's, times in seconds."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float


class WindowBody(BaseModel):
    """One window of a clip, from ``start`` to ``end`` in seconds: a frame, whose accounts are those of an image."""

    id: str
    start: float
    end: float
    policy: ChosenPolicyBody
    link: LinkBody
    cost: CostBody
    timings_ms: TimingsBody
    explain: Explain = None


class Accounts(BaseModel):
    """What ``verbose_json`` tells beside OpenAI's fields.

    ``policy``, ``link`` and ``cost`` are of all windows together: ``policy`` is null where they were served by several;
    ``link`` has sums, but for ``cbr`` and ``snr_db``, which are means. At the cloud, where no link took part, they are
    null, and there are no ``windows``.
    """

    id: str
    policy: ChosenPolicyBody | None
    link: LinkBody | None
    cost: CostBody | None
    timings_ms: TimingsBody
    windows: list[WindowBody]


class TranscriptResponse(Accounts):
    """A transcript as ``verbose_json`` has it."""

    text: str
    language: str
    duration: float
    segments: list[SegmentBody]

    @property
    def transcript(self) -> "Transcript":
        """The same as the rest of the house takes it."""
        # Here, so that the client does without NumPy.
        from thinwire.audio import Segment, Transcript

        segments = (
            Segment(
                start_s=one.start,
                end_s=one.end,
                text=one.text,
                seek=one.seek,
                tokens=tuple(one.tokens),
                temperature=one.temperature,
                avg_logprob=one.avg_logprob,
                no_speech_prob=one.no_speech_prob,
            )
            for one in self.segments
        )
        return Transcript(tuple(segments), self.language, self.duration)


def without_link(identity: str, timings: TimingsBody) -> dict[str, Any]:
    """The accounts of a transcript that crossed no link."""
    return Accounts(id=identity, policy=None, link=None, cost=None, timings_ms=timings, windows=[]).model_dump()


def accounts(identity: str, windows: Sequence[WindowBody], total_ms: float) -> dict[str, Any]:
    """The accounts of a transcript.

    Args:
        identity: of the request.
        windows: at least one.
        total_ms: of the whole request, in which windows overlap.
    """
    links = [window.link for window in windows]
    policies = [window.policy for window in windows]
    first = policies[0]
    is_one = all((policy.id, policy.front) == (first.id, first.front) for policy in policies)
    heard = [link.snr_db for link in links if link.snr_db is not None]
    summed = (
        *("tokens", "channel_uses", "payload_uses", "pilot_uses"),
        *("side_information_uses", "airtime_ms", "transmissions"),
    )
    link = LinkBody(
        **{name: sum(getattr(one, name) for one in links) for name in summed},
        cbr=sum(one.cbr for one in links) / len(links),
        snr_db=sum(heard) / len(heard) if heard else None,
    )
    capped = any(policy.capped for policy in policies)
    whole = Accounts(
        id=identity,
        policy=first.model_copy(update={"capped": capped}) if is_one else None,
        link=link,
        cost=CostBody(edge_gmacs=sum(window.cost.edge_gmacs for window in windows)),
        timings_ms=TimingsBody(
            **{name: _total(windows, name) for name in ("edge", "channel", "cloud")}, total=total_ms
        ),
        windows=list(windows),
    )
    return whole.model_dump()


def _total(windows: Sequence[WindowBody], stage: str) -> float | None:
    times = [getattr(window.timings_ms, stage) for window in windows]
    return None if None in times else sum(times)
