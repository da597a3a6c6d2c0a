"""``thinwire evaluate``: accuracy and cost of one policy on labelled images, images with questions, or utterances."""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deploy.cli.common import (
    add_bundle,
    add_json,
    add_placement,
    finite,
    load_to_measure,
    noun_of,
    positive_int,
    print_json,
    seed,
)

if TYPE_CHECKING:
    from offline.measure.evaluator import Measurement
    from offline.measure.judges import Samples
    from thinwire.bundle import Bundle

# Often enough to see that it goes on, and that a measurement of a minute stays a line or two.
REPORT_SECONDS = 20


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("evaluate", help="measure a policy on images or speech")
    add_bundle(parser)
    parser.add_argument(
        "--data",
        required=True,
        help=".tar or folder of class/image, or of SPLIT/questions.json and SPLIT/images; hfds/OWNER/NAME; or a "
        ".tar of digit_speaker_number.wav",
    )
    policy = parser.add_mutually_exclusive_group()
    policy.add_argument("--policy", help="auto, an id, or none: the reference (default: auto with a budget, else none)")
    policy.add_argument("--thresholds", type=finite, nargs="+", metavar="T", help="one for each time that tokens merge")
    parser.add_argument("--budget-channel-uses", type=positive_int, metavar="N", help="cap, and choice of the policy")
    parser.add_argument("--symbols-per-token", type=positive_int, metavar="S", help="rate (default: the policy's)")
    parser.add_argument("--max-tokens", type=positive_int, metavar="N", help="limit (default: the policy's)")
    parser.add_argument("--channel", default="awgn", help="model, as rayleigh:coherence=16; or none (default: awgn)")
    parser.add_argument("--csi", default="perfect", help="perfect, none, pilots:count=4,every=16 (default: perfect)")
    parser.add_argument("--equaliser", choices=("mmse", "zf"), default="mmse", help="(default: mmse)")
    parser.add_argument("--snr", type=finite, default=10.0, metavar="DB")
    parser.add_argument(
        "--snr-error",
        type=finite,
        default=0.0,
        metavar="DB",
        help="what the sender is told above --snr (default: 0)",
    )
    parser.add_argument("--seed", type=seed, default=0, help="of the noise")
    parser.add_argument(
        "--limit", type=positive_int, metavar="N", help="a sample, even over the classes; so many utterances"
    )
    parser.add_argument("--split", default="test", help="of a hub data set, or of questions (default: %(default)s)")
    add_placement(parser)
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    report = measure(options)
    if options.json:
        print_json(report)
    else:
        for name, value in report.items():
            print(f"{name:20} {value:.4f}" if isinstance(value, float) else f"{name:20} {value}")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Carry the command out.

    Returns:
        what ``--json`` prints.
    """
    from channel.models import registry
    from channel.profiles import MAX_SNR_DB, MIN_SNR_DB
    from edge.engine import check_policy
    from offline.measure.evaluator import Evaluator
    from policies.budget import Budget
    from policies.choice import AUTO, UNMERGED, choose_for
    from policies.fronts import Fronts
    from policies.policy import Policy
    from thinwire.bundle import FRONT, load_bundle
    from thinwire.channels import Channel
    from thinwire.csi import Csi
    from thinwire.errors import InvalidRequestError
    from thinwire.spec import within

    model = "" if options.channel == "none" else registry.canonical(options.channel)
    csi = Csi.parse(options.csi)
    bundle = load_bundle(options.bundle)
    for snr in (options.snr, options.snr + options.snr_error):
        within("snr", snr, MIN_SNR_DB, MAX_SNR_DB)
    channel = Channel(model, options.snr, csi)
    budget = Budget(channel_uses=options.budget_channel_uses)
    if options.thresholds:
        if options.symbols_per_token is None:
            raise InvalidRequestError("--thresholds needs --symbols-per-token")
        name, policy = "given", Policy.create(options.thresholds, options.symbols_per_token, options.max_tokens)
    else:
        asked = options.policy or (UNMERGED if budget.cap is None else AUTO)
        fronts = None if asked == UNMERGED else Fronts.load(bundle.path(FRONT), bundle.digest)
        # A sender that is wrong about the SNR encodes for another, and chooses for it.
        choice = choose_for(bundle, fronts, asked, budget, replace(channel, snr_db=options.snr + options.snr_error))
        name, policy = choice.id, choice.policy
        rate = options.symbols_per_token or policy.symbols_per_token
        policy = Policy.create(policy.thresholds, rate, options.max_tokens or policy.max_tokens)
    check_policy(policy, bundle)
    images, placement = load_to_measure(bundle, options, options.limit)
    evaluator = Evaluator.load(bundle, images, placement, options.equaliser, options.snr_error)
    cap = budget.cap if model else None
    measured = evaluator.measure_policy(policy, channel, options.seed, cap, _reporter(len(images), noun_of(bundle)))
    return {
        "bundle": bundle.name,
        "bundle_digest": bundle.digest,
        "policy": name,
        "policy_digest": policy.digest,
        "thresholds": list(policy.thresholds),
        "symbols_per_token": policy.symbols_per_token,
        "max_tokens": policy.max_tokens,
        "channel": model or "none",
        "csi": csi.text,
        "equaliser": options.equaliser,
        "snr_db": options.snr if model else None,
        "snr_error_db": options.snr_error,
        "seed": options.seed,
        "budget_channel_uses": budget.cap,
        "accuracy": measured.accuracy,
        "accuracy_se": measured.accuracy_se,
        "n": len(images),
        **_about(bundle, images, measured),
        "tokens_mean": float(measured.tokens.mean()),
        "tokens_sd": float(measured.tokens.std()),
        "channel_uses_mean": float(measured.uses.mean()),
        "channel_uses_max": int(measured.uses.max()),
        "capped_share": float(measured.capped.mean()),
        "edge_gmacs_mean": float(measured.edge_gmacs.mean()),
        "edge_gmacs_unmerged": evaluator.unmerged_gmacs(),
    }


def _about(bundle: "Bundle", samples: "Samples", measured: "Measurement") -> dict[str, Any]:
    """What is asked of images or of utterances alone."""
    from offline.data.utterances import Utterances

    asked = int(measured.asked.sum())
    if isinstance(samples, Utterances):
        return {
            "error_rate": 1 - measured.accuracy,
            "digits": asked,
            "seconds_of_audio": float(samples.seconds.sum()),
        }
    side = bundle.preprocessing.size
    return {"questions": asked, "cbr": float(measured.uses.mean()) / (side * side * 3)}


def _reporter(wanted: int, noun: str) -> Callable[[int], None]:
    """Says now and then how far a measurement is."""
    last = time.monotonic()

    def report(done: int) -> None:
        nonlocal last
        if time.monotonic() - last >= REPORT_SECONDS:
            last = time.monotonic()
            print(f"{done} of {wanted} {noun}", file=sys.stderr)

    return report
