"""Twenty questions about one image: what is sent and read once, and the time of the first and the others."""

import base64
import time
from typing import Any

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from deploy.cli.common import positive_int
from deploy.ports import HOST
from deploy.testbed import LocalTestbed
from experiments.harness.experiment import Experiment
from experiments.harness.in_turn import quartiles
from experiments.harness.options import Option
from experiments.harness.processes import running
from experiments.harness.report import Cell, Report, Table
from experiments.harness.setting import Setting
from offline.data.drawings import draw
from offline.data.question_texts import easy_questions, harder_questions
from thinwire.images import to_png

QUESTIONS = 20
WARM_UP = 3


def counted(url: str, name: str, **labels: str) -> float:
    """The sum of a metric's samples that carry these labels."""
    families = text_string_to_metric_families(httpx.get(f"{url}/metrics", timeout=10).text)
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def _ask(client: httpx.Client, url: str, body: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """The answer, and how many milliseconds it took."""
    started = time.perf_counter()
    response = client.post(url, json=body)
    took = (time.perf_counter() - started) * 1e3
    answer: dict[str, Any] = response.raise_for_status().json()
    return answer, took


def _row(
    client: httpx.Client, testbed: LocalTestbed, pictures: int, first_index: int, budget: int | None
) -> dict[str, Cell]:
    """So many pictures, after a few that only warm up, under a budget in channel uses; None merges nothing."""
    link: dict[str, Any] = {"policy": "none"} if budget is None else {"budget": {"channel_uses": budget}}
    firsts: list[float] = []
    others: list[float] = []

    def so_far() -> tuple[float, float]:
        frames = counted(f"http://{HOST}:{testbed.ports.channel_metrics}", "thinwire_frames_total")
        return frames, counted(testbed.cloud_url, "thinwire_batch_size_count", kind="frame")

    for number in range(-WARM_UP, pictures):
        if number == 0:
            before = so_far()
            firsts, others = [], []
        drawing = draw(0, first_index + WARM_UP + number, several=True)
        texts = [one.text for one in easy_questions(drawing.scene) + harder_questions(drawing.scene)]
        chosen = np.random.default_rng(WARM_UP + number).permutation(len(texts))[:QUESTIONS]
        image = base64.b64encode(to_png(drawing.pixels)).decode()
        body = {"inputs": {"image": image, "question": texts[chosen[0]]}, "parameters": link}
        answer, first = _ask(client, f"{testbed.edge_url}/v1/vqa", body)
        again = f"{testbed.cloud_url}/v1/frames/{answer['id']}/questions"
        firsts.append(first)
        others += [_ask(client, again, {"inputs": {"question": texts[index]}})[1] for index in chosen[1:]]
    frames, prefills = np.subtract(so_far(), before) / pictures
    return {
        "asked": "unmerged" if budget is None else f"{budget} uses",
        "questions": QUESTIONS,
        "frames": float(frames),
        "prefills": float(prefills),
        "first, ms": quartiles(firsts),
        "others, ms": quartiles(others),
    }


def run(setting: Setting) -> Report:
    """Measure; see `EXPERIMENT`."""
    options = setting.options
    with running([setting.bundle], ("--seed", str(setting.seed))) as testbed, httpx.Client(timeout=60) as client:
        rows = [
            _row(client, testbed, options.pictures, 10**8 * (index + 1), budget)
            for index, budget in enumerate((None, options.budget_channel_uses))
        ]
    title = "Per picture; times as the client sees them, medians and quartiles"
    return Report([Table(title, rows, {"frames": 2, "prefills": 2}, ("first, ms", "others, ms"))])


EXPERIMENT = Experiment(
    name="dialogue",
    title="Twenty questions about one image",
    about="""
Pictures are drawn, and a running testbed is asked twenty different questions about each: the first at the edge, the
others of the frame that the cloud then holds. What was sent is counted at the proxy, what was prefilled at the cloud.
""",
    run=run,
    data=(),
    packages=("httpx",),
    options={
        "bundle": Option("easy-vqa", "name of a shipped bundle, or its folder"),
        "pictures": Option(20, "drawn", 3, positive_int),
        "budget_channel_uses": Option(19, "beside the unmerged reference", kind=positive_int),
    },
)
