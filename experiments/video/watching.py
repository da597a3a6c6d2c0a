"""Clips sent through the three processes, for the experiment on video streams."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from deploy.pictures import Picture, pictures_of
from deploy.streaming import Seen, Tally
from deploy.testbed import LocalTestbed
from experiments.harness.processes import counted_by_proxy, link_of, running
from experiments.harness.setting import Setting
from offline.data.images import LabelledImages
from offline.measure.evaluator import request_id_of
from policies.choice import Choice
from thinwire.bundle import Bundle
from thinwire.client import OVERLAP, AsyncClient, in_order
from thinwire.errors import ThinwireError
from thinwire.images import decode, to_pixels
from thinwire.rest.schemas import ClassifyResponse

CLIPS = ("bikes", "bigbuckbunny")
FRAMES, QUICK_FRAMES = 300, 30
ROUNDS, QUICK_ROUNDS = 3, 1
SNR_DB = 10.0
# Frames under way at once, by the name of the columns.
OVERLAPS = {"one by one": 1, "four under way": 4}
UNMERGED, OTHER_NOISE, PLAIN = "unmerged", "unmerged, other noise", "plain model, no channel"

# What is kept of the answers to a clip's frames, in order: "id", "scores" by label, "policy", "tokens" and "uses".
Run = list[dict[str, Any]]
# Of `Tally`.
Figures = dict[str, float]


def frame_id_of(name: str, number: int) -> str:
    """The id under which `watch` sends a frame of that name; it keys the noise."""
    return request_id_of(f"{name}/{number}")


def watch(
    url: str,
    frames: Iterator[Picture],
    labels: int,
    policies: Sequence[Choice] = (),
    name: str | None = None,
    overlap: int = OVERLAP,
) -> list[Seen]:
    """Stream the frames of a clip.

    Args:
        url: of an edge or, for its plain model, of the cloud.
        frames: what is sent.
        labels: how many labels an answer has.
        policies: of each frame, the last one of all that follow; none for the plain model.
        name: see `frame_id_of`; None: ids at random.
        overlap: frames under way at once.

    Returns:
        the answers in order.
    """

    async def run() -> list[Seen]:
        async with AsyncClient(url) as client:

            async def ask(number: int, picture: Picture) -> ClassifyResponse | ThinwireError:
                options: dict[str, Any] = {}
                if policies:
                    chosen = policies[min(number, len(policies) - 1)]
                    options = {"policy": chosen.id} if chosen.cap is None else {"budget": chosen.cap}
                key = None if name is None else frame_id_of(name, number)
                return await client.classify(picture.data, top_k=labels, id=key, **options)

            async with aclosing(in_order(frames, ask, overlap)) as answers:
                return [answered async for answered in answers]

    return asyncio.run(run())


def _kept(answer: ClassifyResponse) -> dict[str, Any]:
    return {
        "id": answer.id,
        "scores": {output.label: output.score for output in answer.outputs},
        "policy": answer.policy.id if answer.policy else None,
        "tokens": answer.link.tokens if answer.link else None,
        "uses": answer.link.channel_uses if answer.link else None,
    }


class Streams:
    """The experiment's streams, each from the setting's folder if an earlier run had it."""

    def __init__(self, setting: Setting, bundle: Bundle, choices: Mapping[str, Choice]) -> None:
        self._setting = setting
        self.bundle = bundle
        self.choices = choices
        self._limit = QUICK_FRAMES if setting.quick else FRAMES

    def _frames(self, clip: str) -> Iterator[Picture]:
        return islice(pictures_of([self._setting.file(f"video/{clip}.mp4")]), self._limit)

    def images(self, clip: str) -> LabelledImages:
        """The frames of a clip as the evaluator takes them, with labels that mean nothing."""
        pixels = [to_pixels(decode(frame.data), self.bundle.preprocessing) for frame in self._frames(clip)]
        names = tuple(f"{clip}/{number}" for number in range(len(pixels)))
        return LabelledImages(names, np.stack(pixels), np.zeros(len(pixels), dtype=np.int64), self.bundle.labels)

    def _testbed(self) -> AbstractContextManager[LocalTestbed]:
        return running([self.bundle], ("--model", "awgn", "--snr", str(SNR_DB), "--seed", str(self._setting.seed)))

    def _watch(self, url: str, clip: str, policies: Sequence[Choice] = (), **options: Any) -> list[Seen]:
        return watch(url, self._frames(clip), len(self.bundle.labels), policies, **options)

    def _run(self, url: str, clip: str, policies: Sequence[Choice] = (), name: str | None = None) -> Run:
        answers = [seen.answer for seen in self._watch(url, clip, policies, name=name)]
        return [_kept(answer) for answer in answers if not isinstance(answer, ThinwireError)]

    def alone(self) -> dict[str, dict[str, Run]]:
        """Each policy for itself, the unmerged model under other noise and the plain model: runs by clip and label."""
        found: dict[str, dict[str, Run]] = {clip: {} for clip in CLIPS}
        for label, choice in self.choices.items():
            # The cloud answers a frame that it knows from memory, so each policy needs processes of its own.
            runs = self._setting.kept(f"{label}: {choice.policy.digest}", partial(self._measure, label))
            for clip in CLIPS:
                found[clip] |= runs[clip]
        return found

    def _measure(self, label: str) -> dict[str, dict[str, Run]]:
        found: dict[str, dict[str, Run]] = {}
        with self._testbed() as testbed:
            for clip in CLIPS:
                choice = [self.choices[label]]
                found[clip] = {label: self._run(testbed.edge_url, clip, choice, clip)}
                if label == UNMERGED:
                    found[clip][OTHER_NOISE] = self._run(testbed.edge_url, clip, choice, f"{clip} again")
                    found[clip][PLAIN] = self._run(testbed.cloud_url, clip)
        return found

    def switched(self, plans: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Any]]:
        """One stream for each clip whose policies are switched by a plan: its run, and what the channel counted."""
        found: dict[str, dict[str, Any]] = self._setting.kept(
            f"switched: {plans}", lambda: {clip: self._switch(clip, plans[clip]) for clip in CLIPS}
        )
        return found

    def _switch(self, clip: str, plan: Sequence[str]) -> dict[str, Any]:
        with self._testbed() as testbed:
            run = self._run(testbed.edge_url, clip, [self.choices[label] for label in plan], clip)
            links = counted_by_proxy(link_of(testbed)).values()
            counted = sum(link.frames for link in links), sum(link.channel_uses for link in links)
            return {"run": run, "counted": counted}

    def times(self) -> dict[str, dict[str, dict[str, list[Figures]]]]:
        """Figures of `Tally` by clip, name in `OVERLAPS` and policy, from each round, in which all have their turn."""
        found: dict[str, dict[str, dict[str, list[Figures]]]] = {
            clip: {name: {label: [] for label in self.choices} for name in OVERLAPS} for clip in CLIPS
        }
        with self._testbed() as testbed:
            # What starts with the first requests should stand in nobody's times.
            self._watch(testbed.edge_url, CLIPS[0], [*self.choices.values()])
            for _ in range(QUICK_ROUNDS if self._setting.quick else ROUNDS):
                for clip in CLIPS:
                    for name, overlap in OVERLAPS.items():
                        for label, choice in self.choices.items():
                            tally = Tally()
                            for answered in self._watch(testbed.edge_url, clip, [choice], overlap=overlap):
                                tally.add(answered)
                            found[clip][name][label].append(tally.figures() or {})
        return found
