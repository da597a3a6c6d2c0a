"""The channel replays a trace, and the edge follows it from policy to policy."""

import asyncio
import io
import json
import logging
import shutil
import time
from dataclasses import replace
from itertools import pairwise

import pytest

from channel.trace import Trace
from deploy.cli.engines import edge_engine
from deploy.cli.main import main
from deploy.ports import Ports
from deploy.testbed import LocalTestbed
from edge.answer import Answer
from experiments.harness.processes import LINK, edge_service, link_of
from policies.front import Front
from policies.fronts import Fronts
from policies.policy import AccuracyAt, MeasuredPolicy, Objectives, Policy
from tests.e2e.peers import PATIENCE_S, PICTURE, classify, frames_of
from thinwire.bundle import FRONT
from thinwire.channels import Channel
from thinwire.logs import JsonFormatter
from thinwire.rest.schemas import Parameters

pytestmark = pytest.mark.timeout(300)
# The accuracies are made up, so that two policies are enough: their lines cross at 9.29 dB.
FINE, COARSE = Policy.create((1.0,) * 6, 2), Policy.create((0.3,) * 6, 2)
CROSSING_DB = -5 + 25 * (0.6 - 0.2) / (0.9 - 0.2)
FINE_USES = 120
AIRTIME_MS = 12.8


@pytest.fixture(name="bundle")
def bundle_fixture(shipped, tmp_path):
    """The shipped bundle with a front of the two policies."""

    def measured(policy, uses, poor, rich):
        objectives = Objectives(rich, 0.01, 100, 0.1, uses, uses, uses / policy.symbols_per_token, 1.0, 0.0, 0.0, 0.01)
        curve = tuple(AccuracyAt(snr, one, 0.01, 0.0, 0.01) for snr, one in ((-5.0, poor), (20.0, rich)))
        return MeasuredPolicy(policy, shipped.digest, Channel("awgn", 20.0), objectives, curve)

    bundle = replace(shipped, folder=tmp_path / "bundle")
    shutil.copytree(shipped.folder, bundle.folder)
    policies = (measured(FINE, FINE_USES, 0.2, 0.9), measured(COARSE, 16, 0.6, 0.6))
    Fronts((Front(bundle.name, bundle.digest, policies),)).save(bundle.path(FRONT))
    return bundle


def _expected(snr_db: float, symbol_rate_hz: float) -> str:
    fits = symbol_rate_hz * AIRTIME_MS / 1000 >= FINE_USES
    return FINE.id if fits and snr_db > CROSSING_DB else COARSE.id


def test_policies_follow_the_snr_and_the_bandwidth_of_a_trace(bundle, tmp_path):
    trace = tmp_path / "trace.csv"
    Trace((0.0, 0.7, 1.4, 2.1), (15.0, 0.0, 20.0, 0.0), (10_000.0, 10_000.0, 4_000.0, 1.0)).write(trace)
    with LocalTestbed([str(bundle.folder)], Ports.free(), ("--trace", str(trace)), tmp_path) as testbed:
        answers = []
        deadline = time.monotonic() + PATIENCE_S
        # Until each part of the trace was met by two frames in turn.
        while len(_met_in_turn(answers)) < 3:
            assert time.monotonic() < deadline
            answers.append(classify(testbed.edge_url, budget={"airtime_ms": AIRTIME_MS}).json())
        lines = frames_of(testbed, "edge")
    # Before the first answer, the nominal 10 dB and 10 kHz.
    known = [(10.0, 10_000.0), *((answer["link"]["snr_db"], _rate_hz(answer)) for answer in answers)]
    assert [answer["policy"]["id"] for answer in answers] == [_expected(*state) for state in known[:-1]]
    assert {(snr_db, round(rate_hz)) for snr_db, rate_hz in known[1:]} == {(15.0, 10_000), (0.0, 10_000), (20.0, 4_000)}
    for answer, (_, rate_hz) in zip(answers, known, strict=False):
        assert answer["link"]["channel_uses"] <= rate_hz * AIRTIME_MS / 1000 + 1e-6
    for answer, line in zip(answers, lines, strict=True):
        shown = {"request_id": answer["id"], "policy": answer["policy"]["id"], "answer": answer["outputs"][0]["label"]}
        shown |= {"front": "awgn at 20 dB"}
        shown |= {name: answer["link"][name] for name in ("snr_db", "tokens", "channel_uses", "transmissions")}
        assert line.items() >= shown.items()


def _met_in_turn(answers: list[dict]) -> set[float]:
    pairs = pairwise(answer["link"]["snr_db"] for answer in answers)
    return {one for one, two in pairs if one == two}


def _rate_hz(answer: dict) -> float:
    return answer["link"]["channel_uses"] / answer["link"]["airtime_ms"] * 1000


def _switches(policies: list[str]) -> int:
    return sum(one != two for one, two in pairwise(policies))


async def test_a_stream_follows_a_recorded_fade(bundle, tmp_path):
    trace = tmp_path / "fade.csv"
    fade = ("--mean-snr", "12", "--doppler", "2", "--step", "0.025", "--length", "2", "--seed", "1")
    assert main(["channel", "record", "--output", str(trace), *fade]) == 0
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    handler.setFormatter(JsonFormatter("edge"))
    logger = logging.getLogger("edge.sender")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel("INFO")
    engine, answers = edge_engine(bundle, "auto", 1), []

    async def images():
        # Once around the trace, and further where a loaded machine has missed the better part of it.
        until = time.monotonic() + 2.2
        while time.monotonic() < until or _switches([answer.policy_id for answer in answers]) < 2:
            yield PICTURE
            await asyncio.sleep(0.0125)

    try:
        with LocalTestbed([str(bundle.folder)], Ports.free(), ("--trace", str(trace)), tmp_path, LINK) as testbed:
            async with edge_service(bundle, engine, link_of(testbed), "fade") as service:
                async for answer in service.classify_stream(images(), Parameters()):
                    answers.append(answer)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert {type(answer) for answer in answers} == {Answer}
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert len(lines) == len(answers)
    assert {"snr_db", "policy", "tokens", "channel_uses", "answer"} <= set.intersection(*map(set, lines))
    assert {line["snr_db"] for line in lines} <= {round(snr_db, 4) for snr_db in Trace.read(trace).snr_db}
    # Frames overlap: each was chosen by one of the results before it, but not always by the last.
    for index, line in enumerate(lines):
        heard = [10.0] if index < 12 else []
        heard += [earlier["snr_db"] for earlier in lines[max(0, index - 12) : index]]
        assert line["policy"] in {_expected(snr_db, 1e9) for snr_db in heard}
    policies = [line["policy"] for line in lines]
    assert set(policies) == {FINE.id, COARSE.id}
    assert _switches(policies) >= 2
