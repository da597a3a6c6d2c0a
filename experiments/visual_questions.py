"""Visual question answering over the tokens that are sent."""

from functools import partial
from typing import Any

from experiments.harness.experiment import Experiment
from experiments.harness.report import Curve, Estimate, Plot, Report, Table
from experiments.harness.setting import Setting, chosen
from offline.data.drawn import FIRST_UNSEEN, scenes
from offline.data.questioned import QuestionedImages
from offline.measure.evaluator import Evaluator
from offline.measure.judges import AnswerJudge, Images
from offline.measure.question_cost import QuestionCompute
from policies.policy import Policy
from policies.record import ChannelProfile
from thinwire.bundle import Bundle, load_bundle
from thinwire.nn.merging.transformer import rules_for

CHANNEL = ChannelProfile("awgn", 10.0)
SHARES = (0.5, 0.2, 0.1, 0.05)
LIMITS = (32, 16, 8, 4, 2, 1)
SCENES = 500
QUESTIONS_PER_SCENE = 20


def run(setting: Setting) -> Report:
    """Measure; see `EXPERIMENT`."""
    bundle = load_bundle("easy-vqa")
    count = 40 if setting.quick else SCENES
    sources: dict[str, Images] = {
        "easy-VQA": setting.images(bundle),
        "scenes": scenes(count, FIRST_UNSEEN, setting.seed, bundle.preprocessing, QUESTIONS_PER_SCENE),
    }
    found = {source: _measure(setting, source, bundle, images) for source, images in sources.items()}
    tables = [
        Table(
            f"{source}: {len(sources[source])} images",
            [_row(name, one) for name, one in rows.items()],
            digits={"of the full model's GMACs, %": 0},
        )
        for source, rows in found.items()
    ]
    panels = {
        f"{source}, {axis}": [_curve(kind, rows, field) for kind in ("policy", "limit")]
        for source, rows in found.items()
        for axis, field in (("tokens", "tokens"), ("channel uses", "uses"))
    }
    return Report(tables, [Plot("tokens", "mean per frame", "accuracy, %", panels, log_x=True)])


def _ways(bundle: Bundle) -> dict[str, tuple[Policy, int | None]]:
    """Policies with their caps, by a name that begins with their kind."""
    reference = bundle.reference
    assert reference is not None
    unmerged = Policy.unmerged(bundle.split_layer, reference.symbols_per_token)
    ways: dict[str, tuple[Policy, int | None]] = {"policy: none": (unmerged, None)}
    for share in SHARES:
        uses = int(share * reference.channel_uses)
        choice = chosen(bundle, uses, CHANNEL)
        ways[f"policy: within {uses} uses"] = choice.policy, choice.cap
    for limit in LIMITS:
        policy = Policy.create(unmerged.thresholds, unmerged.symbols_per_token, limit)
        ways[f"limit: {limit} after the last layer"] = policy, None
    return ways


def _measure(setting: Setting, source: str, bundle: Bundle, images: Images) -> dict[str, dict[str, Any]]:
    evaluator = Evaluator.load(bundle, images)
    judge = evaluator.judge
    assert isinstance(judge, AnswerJudge)
    assert isinstance(images, QuestionedImages)
    compute = QuestionCompute(evaluator.engine, judge.answerer, images)

    def measure(policy: Policy, cap: int | None) -> dict[str, Any]:
        parts = evaluator.transform(rules_for(policy.thresholds))
        measured = evaluator.measure(parts, policy.symbols_per_token, CHANNEL, setting.seed, cap, policy.max_tokens)
        return {
            "accuracy": (measured.accuracy, measured.accuracy_se),
            "change": measured.change_from(evaluator.unmerged(CHANNEL, setting.seed)),
            "tokens": float(measured.tokens.mean()),
            "tokens_sd": float(measured.tokens.std()),
            "uses": float(measured.uses.mean()),
            "share_of_full": compute.of(measured, True)["share_of_full"],
        }

    return {name: setting.kept(f"{source} {name}", partial(measure, *way)) for name, way in _ways(bundle).items()}


def _row(name: str, one: dict[str, Any]) -> dict[str, Any]:
    return {
        "sent": name,
        "accuracy, %": _percent(one["accuracy"]),
        "change, points": _percent(one["change"]),
        "tokens": one["tokens"],
        "their deviation": one["tokens_sd"],
        "uses per frame": one["uses"],
        "of the full model's GMACs, %": 100 * one["share_of_full"],
    }


def _percent(figure: list[float]) -> Estimate:
    value, se = figure
    return Estimate(100 * value, 100 * se)


def _curve(kind: str, rows: dict[str, dict[str, Any]], field: str) -> Curve:
    members = sorted((one for name, one in rows.items() if name.startswith(kind)), key=lambda one: one[field])
    accuracies = [_percent(one["accuracy"]) for one in members]
    label = {"policy": "policies under budgets", "limit": "nothing merged but after the last layer"}[kind]
    return Curve(
        label, [one[field] for one in members], [one.value for one in accuracies], [one.se for one in accuracies]
    )


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
    bundles=("easy-vqa",),
    data=("easy-vqa.tar",),
)
