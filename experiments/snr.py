"""Accuracy over the SNR for three policies and the unmerged model, on channels that fade, or burst, or do neither."""

from collections.abc import Sequence
from itertools import product
from typing import Any

from experiments.harness.experiment import Experiment
from experiments.harness.options import BUNDLE, LIMIT
from experiments.harness.report import Curve, Estimate, Plot, Report, Table, accuracy, change
from experiments.harness.setting import Setting, three_policies
from offline.measure.evaluator import Evaluator
from policies.choice import Choice
from thinwire.channels import Channel
from thinwire.nn.merging.transformer import rules_for

SNRS_DB = (-5.0, 0.0, 5.0, 10.0, 15.0, 20.0)
CHANNELS = {
    "AWGN": "awgn",
    "Rayleigh, one gain per frame": "rayleigh",
    "Rician, K = 6 dB, one gain per frame": "rician",
    "bursts: a tenth of the symbols 20 dB worse": "gilbert_elliott",
}


def run(setting: Setting) -> Report:
    """Measure; see `EXPERIMENT`."""
    evaluator = setting.evaluator()
    choices = three_policies(evaluator.bundle)
    found: dict[tuple[str, str, float], dict[str, Any]] = {
        (label, *at): one
        for label, choice in choices.items()
        for at, one in _measured(setting, evaluator, choice).items()
    }
    accuracies = {key: accuracy(one["right"]) for key, one in found.items()}
    changes = {key: change(one["right"], found["unmerged", *key[1:]]["right"]) for key, one in found.items()}

    def rows(cells: dict[tuple[str, str, float], Estimate], labels: Sequence[str]) -> list[dict[str, Any]]:
        return [
            {"channel": channel, "policy": label, **{f"{at:g} dB": cells[label, channel, at] for at in SNRS_DB}}
            for channel in CHANNELS
            for label in labels
        ]

    at_10_db = {label: found[label, "AWGN", 10.0] for label in choices}
    sent: list[dict[str, Any]] = [
        {
            "policy": label,
            "id": choices[label].id,
            **{column: one[column] for column in ("tokens", "their deviation", "uses", "edge GMACs")},
        }
        for label, one in at_10_db.items()
    ]
    panels = {
        channel: [
            Curve.through(label, SNRS_DB, [accuracies[label, channel, snr_db] for snr_db in SNRS_DB])
            for label in choices
        ]
        for channel in CHANNELS
    }
    return Report(
        tables=[
            Table("What is sent", sent, digits={"edge GMACs": 4}),
            Table("Accuracy, %", rows(accuracies, [*choices])),
            Table("Change from the unmerged model on the same images and noise, points", rows(changes, [*choices][1:])),
        ],
        plots=[Plot("accuracy", "average SNR, dB", "accuracy, %", panels)],
    )


def _measured(setting: Setting, evaluator: Evaluator, choice: Choice) -> dict[tuple[str, float], dict[str, Any]]:
    """What one policy gives on every channel, by its name and SNR; its blocks run once."""
    policy, points = choice.policy, list(product(CHANNELS, SNRS_DB))

    def measure() -> list[dict[str, Any]]:
        parts = evaluator.transform(rules_for(policy.thresholds))
        each = [
            evaluator.measure(
                parts, policy.symbols_per_token, Channel(CHANNELS[channel], snr_db), setting.seed, choice.cap,
                policy.max_tokens,
            )
            for channel, snr_db in points
        ]  # fmt: skip
        return [
            {
                "right": one.right.tolist(),
                "tokens": float(one.tokens.mean()),
                "their deviation": float(one.tokens.std()),
                "uses": float(one.uses.mean()),
                "edge GMACs": float(one.edge_gmacs.mean()),
            }
            for one in each
        ]

    return dict(zip(points, setting.kept(f"{policy.digest} {choice.cap}", measure), strict=True))


EXPERIMENT = Experiment(
    name="snr",
    title="Accuracy over the SNR",
    about="""
The bundle `{bundle}` on test images: the unmerged reference, and the policies that budgets of 50%, 20% and 5% of its
uses choose on AWGN at 10 dB, kept over all SNRs and channels (what `auto` would change them to is another question).
The receiver knows the gain and the noise variance; the encoder knows the average SNR. All policies meet the same images
and the same keyed noise.
""",
    run=run,
    options=BUNDLE | LIMIT,
)
