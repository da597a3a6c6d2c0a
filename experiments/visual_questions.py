"""Visual question answering over the tokens that are sent."""

from functools import partial
from typing import Any

from cloud.torch_answerer import TorchAnswerer
from deploy.cli.common import positive_int
from experiments.harness.experiment import Experiment
from experiments.harness.options import LIMIT, Option
from experiments.harness.report import Curve, Estimate, Plot, Report, Table
from experiments.harness.setting import Setting, chosen, fronts_of
from offline.data.drawn import FIRST_UNSEEN, scenes
from offline.data.questioned import QuestionedImages, load_vqa, split_select
from offline.measure.cloud_cost import QuestionCompute
from offline.measure.evaluator import BYPASS, Evaluator
from offline.measure.judges import AnswerJudge, Images
from offline.measure.llava_report import report
from policies.policy import Policy
from thinwire.bundle import Bundle
from thinwire.channels import Channel
from thinwire.nn.merging.transformer import rules_for

CHANNEL = Channel("awgn", 10.0)
SHARES = (0.5, 0.2, 0.1, 0.05)
LIMITS = (32, 16, 8, 4, 2, 1)
QUESTIONS_PER_SCENE = 20
# Of the visual tokens, and accuracy on select that the least compute may cost, for the further ways.
TOKEN_SHARE, LOSS = 0.1, 0.03
FURTHER = "further: "

Way = tuple[Policy, int | None, Channel]


def run(setting: Setting) -> Report:
    """Measure; see `EXPERIMENT`."""
    bundle = setting.bundle
    sources: dict[str, Images] = {
        "easy-VQA": setting.images(bundle, limit=setting.options.limit),
        "scenes": _scenes(setting, bundle, FIRST_UNSEEN),
    }
    found: dict[str, dict[str, dict[str, Any]]] = {}
    unseen: list[dict[str, Any]] = []
    for source, images in sources.items():
        # One after the other: each holds the whole model.
        evaluator = Evaluator.load(bundle, images)
        found[source] = measure(setting, source, evaluator)
        if setting.options.every_way:
            unseen.append(_without_images(setting, source, evaluator))
    tables = [
        Table(
            f"{source}: {len(sources[source])} images",
            [_row(name, one) for name, one in rows.items() if not name.startswith(FURTHER)],
            digits={"of the full model's GMACs, %": 0},
        )
        for source, rows in found.items()
    ]
    if setting.options.every_way:
        tables += [in_full(source, rows) for source, rows in found.items()]
        tables.append(Table("Answers without the image, no channel", unseen))
    panels = {
        f"{source}, {axis}": [_curve(kind, rows, field) for kind in ("policy", "limit")]
        for source, rows in found.items()
        for axis, field in (("tokens", "tokens"), ("channel uses", "uses"))
    }
    return Report(tables, [Plot("tokens", "mean per frame", "accuracy, %", panels, log_x=True)])


def _scenes(setting: Setting, bundle: Bundle, first: int) -> QuestionedImages:
    return scenes(setting.options.scenes, first, setting.seed, bundle.preprocessing, QUESTIONS_PER_SCENE)


def _ways(bundle: Bundle) -> dict[str, Way]:
    """Policies with their caps, by a name that begins with their kind."""
    reference = bundle.reference
    assert reference is not None
    unmerged = Policy.unmerged(bundle.steps, reference.symbols_per_token)
    ways: dict[str, Way] = {"policy: none": (unmerged, None, CHANNEL)}
    for share in SHARES:
        uses = int(share * reference.channel_uses)
        choice = chosen(bundle, uses, CHANNEL)
        ways[f"policy: within {uses} uses"] = choice.policy, choice.cap, CHANNEL
    for limit in LIMITS:
        policy = Policy.create(unmerged.thresholds, unmerged.symbols_per_token, limit)
        ways[f"limit: {limit} after the last layer"] = policy, None, CHANNEL
    return ways


def _further_ways(bundle: Bundle, compute: QuestionCompute) -> dict[str, Way]:
    """No channel, the front by tokens and by compute, and the trivial baselines."""
    reference, layers = bundle.reference, bundle.steps
    assert reference is not None
    front = fronts_of(bundle).nearest(CHANNEL).policies
    few = [one for one in front if one.objectives.tokens <= TOKEN_SHARE * bundle.patches]
    near = [one for one in front if one.objectives.accuracy_change >= -LOSS]
    rate = max(rate for rate in bundle.codec.rates if rate <= SHARES[-2] * reference.channel_uses)
    unmerged = Policy.unmerged(layers, reference.symbols_per_token)
    policies = {
        f"{TOKEN_SHARE:.0%} of the tokens": max(few, key=lambda one: one.objectives.accuracy).policy,
        f"least compute, -{LOSS:.0%}": min(near, key=lambda one: compute.expected(one.objectives)).policy,
        "unmerged, one symbol per token": Policy.unmerged(layers, min(bundle.codec.rates)),
        f"one token, {rate} uses": Policy.create([1.0] * layers, rate, bundle.prefix_tokens or 1),
    }
    ways: dict[str, Way] = {f"{FURTHER}no channel, nothing merged": (unmerged, None, BYPASS)}
    return ways | {f"{FURTHER}{name}": (policy, None, CHANNEL) for name, policy in policies.items()}


def _asked(evaluator: Evaluator) -> tuple[QuestionedImages, TorchAnswerer]:
    """What is asked, and who answers."""
    assert isinstance(evaluator.images, QuestionedImages)
    assert isinstance(evaluator.judge, AnswerJudge)
    return evaluator.images, evaluator.judge.answerer


def measure(setting: Setting, source: str, evaluator: Evaluator) -> dict[str, dict[str, Any]]:
    """What every way gives, by its name."""
    images, answerer = _asked(evaluator)
    compute = QuestionCompute(evaluator.engine, answerer, images)

    def one_way(policy: Policy, cap: int | None, channel: Channel) -> dict[str, Any]:
        parts = evaluator.transform(rules_for(policy.thresholds))
        measured = evaluator.measure(parts, policy.symbols_per_token, channel, setting.seed, cap, policy.max_tokens)
        is_sent = channel != BYPASS
        return {
            "accuracy": (measured.accuracy, measured.accuracy_se),
            "change": measured.change_from(evaluator.unmerged(CHANNEL, setting.seed)),
            "tokens": float(measured.tokens.mean()),
            "tokens_sd": float(measured.tokens.std()),
            "uses": is_sent * float(measured.uses.mean()),
            "policy": policy.id,
            "uses_max": is_sent * int(measured.uses.max()),
            "uses_per_question": is_sent * float(measured.uses.sum() / measured.asked.sum()),
            "capped": float(measured.capped.mean()),
            **compute.of(measured, is_sent),
        }

    ways = _ways(evaluator.bundle) | (_further_ways(evaluator.bundle, compute) if setting.options.every_way else {})
    return {name: setting.kept(f"{source} {name}", partial(one_way, *way)) for name, way in ways.items()}


def _row(name: str, one: dict[str, Any]) -> dict[str, Any]:
    return {
        "sent": name,
        "accuracy, %": Estimate.percent(*one["accuracy"]),
        "change, points": Estimate.percent(*one["change"]),
        "tokens": one["tokens"],
        "their deviation": one["tokens_sd"],
        "uses per frame": one["uses"],
        "of the full model's GMACs, %": 100 * one["share_of_full"],
    }


def in_full(source: str, rows: dict[str, dict[str, Any]]) -> Table:
    """All that `measure` gave."""
    full = [
        {
            **_row(name, one),
            "policy": one["policy"],
            "largest": one["uses_max"],
            "uses per question": one["uses_per_question"],
            "capped, %": 100 * one["capped"],
            "edge GMACs": one["edge_gmacs"],
            "cloud GMACs": one["cloud_gmacs"],
        }
        for name, one in rows.items()
    ]
    digits = {"change, points": 2, "uses per question": 2, "edge GMACs": 4, "cloud GMACs": 4}
    return Table(f"{source}: every way, in full", full, digits)


def _without_images(setting: Setting, source: str, evaluator: Evaluator) -> dict[str, Any]:
    """What the plain model says to blank tokens and to another image's, and what the question's text alone gives."""
    bundle, (images, answerer) = evaluator.bundle, _asked(evaluator)
    if source == "scenes":
        learnt = _scenes(setting, bundle, FIRST_UNSEEN + setting.options.scenes)
    else:
        learnt, _ = split_select(load_vqa(str(setting.file("easy-vqa.tar")), bundle.preprocessing, "train"))
    found = report(answerer.language.model, answerer.language.tokenizer, bundle.preprocessing, learnt, images)
    return {
        "images": source,
        "plain model, %": 100 * found.accuracy,
        "question only, %": 100 * found.question_only,
        "blank tokens, %": 100 * found.blank,
        "another image's tokens, %": 100 * found.another,
    }


def _curve(kind: str, rows: dict[str, dict[str, Any]], field: str) -> Curve:
    members = sorted((one for name, one in rows.items() if name.startswith(kind)), key=lambda one: one[field])
    label = {"policy": "policies under budgets", "limit": "nothing merged but after the last layer"}[kind]
    accuracies = [Estimate.percent(*one["accuracy"]) for one in members]
    return Curve.through(label, [one[field] for one in members], accuracies)


EXPERIMENT = Experiment(
    name="questions",
    title="Answers over the tokens that are sent",
    about="""
The bundle `easy-vqa`, AWGN at 10 dB: every question about the test images of easy-VQA, and twenty harder ones about
each of 500 drawn scenes of two to four shapes. Policies are those that budgets of 50%, 20%, 10% and 5% of the unmerged
reference's uses choose (`none` is the reference); beside them, at the reference's rate, tokens merged only after the
last layer down to a limit. An answer is right to the letter; errors are clustered by image. Compute is of one question
about each image, device and cloud together, against the whole model in one place.

The paper reports LLaVA near its full accuracy (GQA, ScienceQA) at under a third of the compute and a tenth of the
bandwidth. Here the tower costs as much as the language model, so merging in the cloud alone saves less of the whole;
[vqa.md](../vqa.md) says what is answered without seeing the image at all.
""",
    run=run,
    data=("easy-vqa.tar",),
    options=LIMIT
    | {
        "bundle": Option("easy-vqa", "name of a shipped bundle, or its folder"),
        "scenes": Option(500, "drawn", 40, positive_int),
        "every_way": Option(False, "the front's ends and trivial baselines, too, and what is said without the image"),
    },
)
