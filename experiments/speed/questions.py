"""Twenty questions about one image: one transmission and one visual prefill, and the time of the first and the others.

``python -m experiments.speed.questions`` draws pictures and asks a running testbed twenty different questions about each: the
first at the edge, the others of the frame that the cloud then holds. What was sent is counted at the proxy, what was
prefilled at the cloud.
"""

import argparse
import base64
import json
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from deploy.cli.common import seed, table
from deploy.testbed import HOST, LocalTestbed, Ports
from experiments.speed.budgets import png
from offline.data.drawings import draw
from offline.data.question_texts import easy_questions, harder_questions

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


def run(
    client: httpx.Client, testbed: LocalTestbed, pictures: int, first_index: int, budget: int | None
) -> dict[str, Any]:
    """Ask about so many pictures, after a few that only warm up.

    Args:
        budget: in channel uses; None merges nothing.

    Returns:
        frames at the proxy and prefills at the cloud per picture, and medians and quartiles of the times in
        milliseconds, as the client saw them.
    """
    channel = f"http://{HOST}:{testbed.ports.channel_metrics}"
    link: dict[str, Any] = {"policy": "none"} if budget is None else {"budget": {"channel_uses": budget}}
    firsts, others = [], []
    frames = prefills = 0.0
    for number in range(WARM_UP + pictures):
        if number == WARM_UP:
            frames = counted(channel, "thinwire_frames_total")
            prefills = counted(testbed.cloud_url, "thinwire_batch_size_count", kind="frame")
        drawing = draw(0, first_index + number, several=True)
        texts = [one.text for one in easy_questions(drawing.scene) + harder_questions(drawing.scene)]
        chosen = np.random.default_rng(number).permutation(len(texts))[:QUESTIONS]
        image = base64.b64encode(png(drawing.pixels)).decode()
        body = {"inputs": {"image": image, "question": texts[chosen[0]]}, "parameters": link}
        answer, first = _ask(client, f"{testbed.edge_url}/v1/vqa", body)
        again = f"{testbed.cloud_url}/v1/frames/{answer['id']}/questions"
        times = [_ask(client, again, {"inputs": {"question": texts[index]}})[1] for index in chosen[1:]]
        if number >= WARM_UP:
            firsts.append(first)
            others += times
    return {
        "asked": "unmerged" if budget is None else f"{budget} uses",
        "questions_per_picture": QUESTIONS,
        "frames_per_picture": (counted(channel, "thinwire_frames_total") - frames) / pictures,
        "prefills_per_picture": (counted(testbed.cloud_url, "thinwire_batch_size_count", kind="frame") - prefills)
        / pictures,
        "first_ms": float(np.median(firsts)),
        "first_quartiles_ms": np.quantile(firsts, (0.25, 0.75)).tolist(),
        "other_ms": float(np.median(others)),
        "other_quartiles_ms": np.quantile(others, (0.25, 0.75)).tolist(),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="easy-vqa", help="default: %(default)s")
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--budget-channel-uses", type=int, default=19, metavar="N")
    parser.add_argument("--seed", type=seed, default=0, help="of the noise")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write JSON there")
    options = parser.parse_args(arguments)
    channel = ("--seed", str(options.seed))
    with (
        TemporaryDirectory() as logs,
        LocalTestbed([options.bundle], Ports.free(), channel, Path(logs)) as testbed,
        httpx.Client(timeout=60) as client,
    ):
        results = [
            run(client, testbed, options.pictures, 10**8 * (index + 1), budget)
            for index, budget in enumerate((None, options.budget_channel_uses))
        ]
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    print(table([_as_text(result) for result in results]))


def _as_text(result: dict[str, Any]) -> dict[str, str]:
    def times(name: str) -> str:
        low, high = result[f"{name}_quartiles_ms"]
        return f"{result[f'{name}_ms']:.1f} ({low:.1f} to {high:.1f})"

    return {
        "asked": result["asked"],
        "questions": str(result["questions_per_picture"]),
        "frames": f"{result['frames_per_picture']:g}",
        "prefills": f"{result['prefills_per_picture']:g}",
        "first, ms": times("first"),
        "others, ms": times("other"),
    }


if __name__ == "__main__":
    main()
