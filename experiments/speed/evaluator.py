"""How fast the evaluator is, against a plain loop that takes one image after the other.

``python -m experiments.speed.evaluator --data TAR --limit 500`` measures the policies of the bundle's fronts both ways, in
turn, on the same images and the same noise. The loop is what serves: one image through the engine, the channel and the
classifier. The evaluator's first policy pays for what all share; the others are what a search consists of.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from channel.keys import keyed_generator
from channel.models.registry import get
from channel.realisation import apply
from cloud.reception import receive
from deploy.cli.common import positive_int, print_json
from experiments.speed.arguments import load_asked, parser_for
from offline.measure.evaluator import LINK_ID, Evaluator, request_id_of
from policies.fronts import Fronts
from policies.policy import Policy
from policies.record import ChannelProfile
from thinwire.bundle import FRONT
from thinwire.errors import InvalidRequestError

CHANNEL = ChannelProfile("awgn", 10.0)


def one_by_one(evaluator: Evaluator, policy: Policy, seed: int) -> NDArray[np.int64]:
    """The answers of a loop over single images."""
    answers = []
    for name, pixels in zip(evaluator.images.names, evaluator.images.pixels, strict=True):
        encoded = evaluator.engine.encode(pixels, policy, CHANNEL.snr_db)
        generator = keyed_generator(seed, LINK_ID, request_id_of(name), 0)
        drawn = get(CHANNEL.model).draw(encoded.symbols.shape, CHANNEL.snr_db, generator)
        arrived = receive(apply(encoded.symbols, drawn), complex(drawn.gain), float(drawn.noise_variance))
        answers.append(evaluator.judge.classifier.classify_frames([arrived]).argmax())
    return np.array(answers)


def run(evaluator: Evaluator, policies: Sequence[Policy], seed: int) -> dict[str, Any]:
    """Measure every policy both ways; there must be two at least.

    Returns:
        images per second of the loop, of the evaluator on its first policy and on the others, and their ratios; how
        many answers differ, of how many.
    """
    seconds: dict[str, list[float]] = {"loop": [], "evaluator": []}
    differing = 0
    for policy in policies:
        began = time.perf_counter()
        answers = one_by_one(evaluator, policy, seed)
        seconds["loop"].append(time.perf_counter() - began)
        began = time.perf_counter()
        measured = evaluator.measure_policy(policy, CHANNEL, seed)
        seconds["evaluator"].append(time.perf_counter() - began)
        differing += int((measured.logits.argmax(1) != answers).sum())
    count = len(evaluator.images)
    loop, first, others = (
        count / np.median(one) for one in (seconds["loop"], seconds["evaluator"][:1], seconds["evaluator"][1:])
    )
    return {
        "images": count,
        "policies": len(policies),
        "loop_images_per_s": float(loop),
        "first_policy_images_per_s": float(first),
        "other_policies_images_per_s": float(others),
        "ratio": float(others / loop),
        "differing_answers": differing,
        "answers": count * len(policies),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = parser_for(__doc__)
    parser.add_argument("--policies", type=positive_int, default=8, help="how many, over the whole range of uses")
    options = parser.parse_args(arguments)
    bundle, images = load_asked(options)
    front = Fronts.load(bundle.path(FRONT), bundle.digest).nearest(CHANNEL.model, CHANNEL.snr_db)
    places = np.linspace(0, len(front.policies) - 1, min(options.policies, len(front.policies))).astype(int)
    chosen = [front.policies[place].policy for place in places]
    if len(chosen) < 2:
        raise InvalidRequestError(f"expected two policies or more, got {len(chosen)}")
    result = run(Evaluator.load(bundle, images), chosen, options.seed)
    if options.json:
        print_json(result)
        return
    for name, value in result.items():
        print(f"{name:28} {value:.1f}" if isinstance(value, float) else f"{name:28} {value}")


if __name__ == "__main__":
    main()
