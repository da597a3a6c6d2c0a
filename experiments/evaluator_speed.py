"""How fast the evaluator is, against a plain loop that takes one image after the other."""

import time

import numpy as np
from numpy.typing import NDArray

from channel.models.registry import get
from channel.realisation import apply, keyed_generator
from deploy.cli.common import positive_int
from experiments.harness.experiment import Experiment
from experiments.harness.options import BUNDLE, LIMIT, Option
from experiments.harness.report import Report, Table
from experiments.harness.setting import Setting, fronts_of
from offline.measure.evaluator import LINK_ID, Evaluator, request_id_of
from offline.measure.judges import LabelJudge
from policies.policy import Policy
from thinwire.channels import Channel
from thinwire.equalise import receive
from thinwire.errors import InvalidRequestError

CHANNEL = Channel("awgn", 10.0)


def one_by_one(evaluator: Evaluator, policy: Policy, seed: int) -> NDArray[np.int64]:
    """The answers of a loop over single images."""
    answers = []
    assert isinstance(evaluator.judge, LabelJudge)
    for name, pixels in zip(evaluator.images.names, evaluator.pixels, strict=True):
        encoded = evaluator.engine.encode(pixels, policy, CHANNEL.snr_db)
        generator = keyed_generator(seed, LINK_ID, request_id_of(name), 0)
        drawn = get(CHANNEL.model).draw(encoded.symbols.shape, CHANNEL.snr_db, generator)
        arrived = receive(apply(encoded.symbols, drawn), complex(drawn.gain), float(drawn.noise_variance))
        answers.append(evaluator.judge.classifier.classify_frames([arrived]).argmax())
    return np.array(answers)


def run(setting: Setting) -> Report:
    """Measure policies both ways, in turn; see `EXPERIMENT`."""
    bundle = setting.bundle
    front = fronts_of(bundle).nearest(CHANNEL).policies
    places = np.linspace(0, len(front) - 1, min(setting.options.policies, len(front))).astype(int)
    if len(places) < 2:
        raise InvalidRequestError(f"expected two policies or more, got {len(places)}")
    evaluator = Evaluator.load(bundle, setting.images(bundle, limit=setting.options.limit))
    seconds: dict[str, list[float]] = {"loop": [], "evaluator": []}
    differing, gmacs = 0, []
    for place in places:
        policy = front[place].policy
        began = time.perf_counter()
        answers = one_by_one(evaluator, policy, setting.seed)
        seconds["loop"].append(time.perf_counter() - began)
        began = time.perf_counter()
        measured = evaluator.measure_policy(policy, CHANNEL, setting.seed)
        seconds["evaluator"].append(time.perf_counter() - began)
        gmacs.append(measured.edge_gmacs.mean())
        differing += int((measured.logits.argmax(1) != answers).sum())
    count = len(evaluator.images)
    loop, first, others = (
        float(count / np.median(one)) for one in (seconds["loop"], seconds["evaluator"][:1], seconds["evaluator"][1:])
    )
    row = {
        "images": count,
        "policies": len(places),
        "loop, images/s": loop,
        "first policy, images/s": first,
        "other policies, images/s": others,
        "times the loop": others / loop,
        "other policies, s each": count / others,
        "their MACs, share of unmerged": float(np.median(gmacs[1:])) / evaluator.unmerged_gmacs(),
        "other answers": differing,
        "answers": count * len(places),
    }
    return Report(
        [Table("Images a second", [row], timed=[key for key in row if "/s" in key or "loop" in key or " s " in key])]
    )


EXPERIMENT = Experiment(
    name="evaluator",
    title="How fast the evaluator is",
    about="""
Policies of the bundle's front, over the whole range of uses, measured on the same images and the same noise by the
evaluator and by a loop, in turn. The loop is what serves: one image through the engine, the channel and the classifier.
The evaluator's first policy pays for what all share; the others are what a search consists of.
""",
    run=run,
    options=BUNDLE | LIMIT | {"policies": Option(8, "how many", 2, positive_int)},
)
