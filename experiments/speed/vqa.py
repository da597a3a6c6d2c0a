"""Questions about images: accuracy, uses and compute, beside what is answered without seeing the image.

``python -m experiments.speed.vqa --data TAR`` asks every question about the test images of a bundle that answers questions.
An image crosses the channel once, whatever is asked of it, and standard errors are clustered by image. Compute is
that of one question about each image, the language model's prefill included; ``full`` is the whole model in one place.
``--drawn N`` asks harder questions instead, about scenes of two to four shapes.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from deploy.cli.common import seed, table
from offline.data.drawn import FIRST_UNSEEN, scenes
from offline.data.questioned import QuestionedImages, load_vqa, split_select
from offline.measure.evaluator import Evaluator
from offline.measure.judges import AnswerJudge
from offline.measure.llava_report import report
from offline.measure.question_cost import QuestionCompute
from policies.budget import Budget
from policies.choice import AUTO, choose_for
from policies.fronts import Fronts
from policies.policy import Policy
from policies.record import ChannelProfile
from thinwire.bundle import FRONT, Bundle, load_bundle
from thinwire.images import Preprocessing

CHANNEL = ChannelProfile("awgn", 10.0)
# Of the unmerged reference's channel uses.
SHARES = (0.5, 0.2, 0.1, 0.05)
# Of the visual tokens.
TOKEN_SHARE = 0.1
# Accuracy, on select, that the least compute may cost.
LOSS = 0.03
QUESTIONS_PER_SCENE = 20


def rows(bundle: Bundle, evaluator: Evaluator, compute: QuestionCompute, seed: int) -> list[dict[str, Any]]:
    """The unmerged model, policies of the shipped front, and the trivial ways.

    Returns:
        one row each: how it was asked for, the policy, accuracy, its change from the unmerged reference on the same
        images and noise, tokens and uses per frame, uses per question, and compute.
    """
    reference = bundle.reference
    assert reference is not None
    fronts = Fronts.load(bundle.path(FRONT), bundle.digest)
    layers = bundle.split_layer

    def row(
        name: str, policy: Policy, channel: ChannelProfile | None = CHANNEL, cap: int | None = None
    ) -> dict[str, Any]:
        measured = evaluator.measure_policy(policy, channel, seed, cap)
        change, change_se = measured.change_from(evaluator.unmerged(CHANNEL, seed))
        questions = int(measured.asked.sum())
        return {
            "asked": name,
            "policy": policy.id,
            "accuracy": measured.accuracy,
            "accuracy_se": measured.accuracy_se,
            "change": change,
            "change_se": change_se,
            "tokens": float(measured.tokens.mean()),
            "tokens_sd": float(measured.tokens.std()),
            "uses_per_frame": 0.0 if channel is None else float(measured.uses.mean()),
            "uses_max": 0 if channel is None else int(measured.uses.max()),
            "uses_per_question": 0.0 if channel is None else float(measured.uses.sum() / questions),
            "capped": float(measured.capped.mean()),
            **compute.of(measured, channel is not None),
        }

    unmerged = Policy.unmerged(layers, reference.symbols_per_token)
    found = [row("no channel, nothing merged", unmerged, None), row("unmerged reference", unmerged)]
    front = fronts.nearest(CHANNEL.model, CHANNEL.snr_db).policies
    few = [measured for measured in front if measured.objectives.tokens <= TOKEN_SHARE * bundle.patches]
    found.append(row(f"{TOKEN_SHARE:.0%} of the tokens", max(few, key=lambda one: one.objectives.accuracy).policy))
    near = [measured for measured in front if measured.objectives.accuracy_change >= -LOSS]
    found.append(row(f"least compute, -{LOSS:.0%}", min(near, key=lambda one: compute.expected(one.objectives)).policy))
    for share in SHARES:
        uses = int(share * reference.channel_uses)
        choice = choose_for(bundle, fronts, AUTO, Budget(channel_uses=uses), CHANNEL.model, CHANNEL.snr_db)
        found.append(row(f"{share:.0%}: {uses} uses", choice.policy, CHANNEL, uses))
    found.append(row("unmerged, one symbol per token", Policy.unmerged(layers, min(bundle.codec.rates))))
    rate = max(rate for rate in bundle.codec.rates if rate <= SHARES[-2] * reference.channel_uses)
    found.append(row(f"one token, {rate} uses", Policy.create([1.0] * layers, rate, bundle.prefix_tokens or 1)))
    return found


def load_asked(options: argparse.Namespace, preprocessing: Preprocessing) -> tuple[QuestionedImages, QuestionedImages]:
    """What to learn the answers of the question alone from, and what to ask."""
    if options.drawn is not None:
        drawn = scenes(2 * options.drawn, FIRST_UNSEEN, options.seed, preprocessing, QUESTIONS_PER_SCENE)
        return drawn.take(np.arange(options.drawn, len(drawn))), drawn.take(np.arange(options.drawn))
    images = load_vqa(options.data, preprocessing, "test")
    train, _ = split_select(load_vqa(options.data, preprocessing, "train"))
    return train, images.even_sample(options.limit) if options.limit else images


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="easy-vqa", help="default: %(default)s")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", help="tar or folder in easy-VQA's layout")
    source.add_argument("--drawn", type=int, metavar="N", help="draw so many scenes of several shapes instead")
    parser.add_argument("--limit", type=int, metavar="N", help="a sample of the images of --data")
    parser.add_argument("--seed", type=seed, default=0, help="of the noise, and of what is drawn")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write JSON there")
    options = parser.parse_args(arguments)
    bundle = load_bundle(options.bundle)
    train, images = load_asked(options, bundle.preprocessing)
    evaluator = Evaluator.load(bundle, images)
    assert isinstance(evaluator.judge, AnswerJudge)
    answerer = evaluator.judge.answerer
    language = answerer.language
    without = asdict(report(language.model, language.tokenizer, bundle.preprocessing, train, images))
    compute = QuestionCompute(evaluator.engine, answerer, images)
    result = {
        "images": len(images),
        "questions": len(images.questions),
        "full_gmacs": compute.full,
        "tower_gmacs": compute.tower,
        "without_the_image": without,
        "rows": rows(bundle, evaluator, compute, options.seed),
    }
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{len(images)} images, {len(images.questions)} questions; full model {compute.full:.4f} GMACs")
    print("plain model {accuracy:.4f}; another image's tokens {another:.4f}, blank tokens {blank:.4f}, "
          "question only {question_only:.4f}".format(**without))  # fmt: skip
    print(table([_as_text(row) for row in result["rows"]]))


def _as_text(row: dict[str, Any]) -> dict[str, str]:
    return {
        "asked": row["asked"],
        "policy": row["policy"],
        "accuracy, %": f"{100 * row['accuracy']:.1f} ± {100 * row['accuracy_se']:.1f}",
        "change": f"{100 * row['change']:+.2f} ± {100 * row['change_se']:.2f}",
        "tokens": f"{row['tokens']:.1f} ± {row['tokens_sd']:.1f}",
        "uses/frame": f"{row['uses_per_frame']:.1f}",
        "uses/question": f"{row['uses_per_question']:.2f}",
        "capped": f"{row['capped']:.1%}",
        "edge GMACs": f"{row['edge_gmacs']:.4f}",
        "cloud GMACs": f"{row['cloud_gmacs']:.4f}",
        "of full": f"{row['share_of_full']:.0%}",
    }


if __name__ == "__main__":
    main()
