"""What is not as it was when the policies were found: pilots, a wrong SNR, a clipping amplifier, bursts."""

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain
from typing import Any

from experiments.harness.experiment import Experiment
from experiments.harness.report import Cell, Curve, Estimate, Plot, Report, Table, accuracy, change
from experiments.harness.setting import Setting, fronts_of
from offline.measure.evaluator import Evaluator
from policies.budget import Budget
from policies.choice import AUTO, Choice, choose_for
from thinwire.bundle import Bundle
from thinwire.channels import Channel
from thinwire.csi import PERFECT, Csi
from thinwire.nn.merging.transformer import rules_for

BUDGETS = (192, 64, 24)
FADING = ("awgn", "rayleigh")
SNRS_DB = (0.0, 10.0)
PILOTS = (1, 2, 4, 8)
SNR_ERRORS_DB = (-6.0, -3.0, 0.0, 3.0, 6.0)
CLIPPING_DB = (6, 3, 0, -3)
BURSTS = (
    "gilbert_elliott:length=2",
    "gilbert_elliott",
    "gilbert_elliott:length=40",
    "gilbert_elliott:share=0.3",
    "gilbert_elliott:share=0.3,length=40",
)
SAMPLE = 2000


@dataclass(frozen=True)
class Condition:
    """One departure from a known channel."""

    model: str
    csi: Csi = PERFECT
    snr_error_db: float = 0.0

    @property
    def name(self) -> str:
        """For people."""
        csi = "" if self.csi == PERFECT else f", {self.csi.text}"
        error = f", told {self.snr_error_db:+g} dB" if self.snr_error_db else ""
        return f"{self.model}{csi}{error}"

    @property
    def undisturbed(self) -> "Condition":
        """What it is compared with."""
        return Condition(self.model if self.model in FADING else "awgn")


CONDITIONS = {
    "Pilots": [
        Condition(model, csi)
        for model in FADING
        for csi in (PERFECT, *(Csi.parse(f"pilots:count={count}") for count in PILOTS))
    ],
    "A sender that assumes a wrong SNR": [
        Condition(model, snr_error_db=error) for model in FADING for error in SNR_ERRORS_DB
    ],
    "An amplifier that clips": [Condition("awgn"), *(Condition(f"clipping:level_db={db}") for db in CLIPPING_DB)],
    "Bursts": [Condition("awgn"), *(Condition(model) for model in BURSTS)],
}


# A condition, the SNR, and the budget.
Case = tuple[Condition, float, int]


def _choices(bundle: Bundle) -> dict[Case, Choice]:
    """What a sender chooses in every case; some conditions stand in several tables."""
    fronts = fronts_of(bundle)
    return {
        (one, snr_db, uses): choose_for(
            bundle, fronts, AUTO, Budget(channel_uses=uses), Channel(one.model, snr_db + one.snr_error_db, one.csi)
        )
        for one in dict.fromkeys(chain(*CONDITIONS.values()))
        for snr_db in SNRS_DB
        for uses in BUDGETS
    }


def _measure(setting: Setting, evaluator: Evaluator, choices: dict[Case, Choice]) -> dict[Case, dict[str, Any]]:
    """What each case gives: ``policy``, ``right`` for each image, and the mean ``uses``."""
    transform = lru_cache(maxsize=1)(lambda thresholds: evaluator.transform(rules_for(thresholds)))

    def measure(case: Case, choice: Choice) -> dict[str, Any]:
        (one, snr_db, uses), policy = case, choice.policy
        over = copy(evaluator)
        over.snr_error_db = one.snr_error_db
        channel, parts = Channel(one.model, snr_db, one.csi), transform(policy.thresholds)
        measured = over.measure(parts, policy.symbols_per_token, channel, setting.seed, uses, policy.max_tokens)
        return {"policy": choice.id, "right": measured.right.tolist(), "uses": float(measured.uses.mean())}

    found = {}
    # Policy by policy: the device's layers run once for each.
    for case, choice in sorted(choices.items(), key=lambda one: one[1].id):
        key = f"{case[0].name} | {case[1]:g} dB | {case[2]} | {choice.policy.digest}"
        found[case] = setting.kept(key, partial(measure, case, choice))
    return found


def _table(title: str, conditions: Iterable[Condition], found: dict[Case, dict[str, Any]]) -> Table:
    rows = []
    for one in conditions:
        for budget in BUDGETS:
            row: dict[str, Cell] = {"channel": one.name, "budget": budget}
            for snr_db in SNRS_DB:
                here, before = found[one, snr_db, budget], found[one.undisturbed, snr_db, budget]
                row[f"policy, {snr_db:g} dB"] = here["policy"]
                row[f"uses, {snr_db:g} dB"] = here["uses"]
                row[f"accuracy, %, {snr_db:g} dB"] = accuracy(here["right"])
                is_other = one != one.undisturbed
                row[f"change, {snr_db:g} dB"] = change(here["right"], before["right"]) if is_other else None
            rows.append(row)
    return Table(title, rows)


def _worst(table: Table, snr_db: float) -> str:
    column = f"change, {snr_db:g} dB"
    changes = [(cell, row) for row in table.rows if isinstance(cell := row[column], Estimate)]
    worst, row = min(changes, key=lambda one: one[0].value)
    points = table.text(column, worst)
    return f"{table.title}: at {snr_db:g} dB at worst {points} points, `{row['channel']}` within {row['budget']} uses."


def _over_error(found: dict[Case, dict[str, Any]]) -> Plot:
    panels = {}
    for model in FADING:
        for snr_db in SNRS_DB:
            curves = []
            for budget in BUDGETS:
                conditions = [Condition(model, snr_error_db=error) for error in SNR_ERRORS_DB]
                points = [accuracy(found[one, snr_db, budget]["right"]) for one in conditions]
                curves.append(Curve.through(f"within {budget} uses", SNR_ERRORS_DB, points))
            panels[f"{model}, {snr_db:g} dB"] = curves
    return Plot("wrong-snr", "error of the SNR that the sender is told, dB", "accuracy, %", panels)


def run(setting: Setting) -> Report:
    """Measure; see `EXPERIMENT`."""
    evaluator = setting.evaluator(most=SAMPLE)
    found = _measure(setting, evaluator, _choices(evaluator.bundle))
    tables = [_table(title, conditions, found) for title, conditions in CONDITIONS.items()]
    remarks = [_worst(table, snr_db) for table in tables for snr_db in SNRS_DB]
    return Report(tables=tables, plots=[_over_error(found)], remarks=remarks)


EXPERIMENT = Experiment(
    name="robustness",
    title="Pilots, a wrong SNR, clipping and bursts",
    about=f"""
The bundle `cifar10` as it ships, its pair trained over AWGN and Rayleigh block fading with everything known, where
conditions differ from training: the receiver estimates the gain from pilots, the sender assumes a wrong SNR, its
amplifier clips, noise comes in bursts. {SAMPLE} test images, at an average SNR of 0 and of 10 dB, for budgets of
{BUDGETS[0]} (what the unmerged reference takes), {BUDGETS[1]} and {BUDGETS[2]} channel uses, which cap every frame.
The policy is the one that `auto` takes for the budget, the channel's model and the SNR that the sender is told; pilots
come off the budget before it chooses, and count among the uses. The receiver knows the noise variance (in a burst each
symbol's), whatever the sender was told. Changes are from the same budget on the same channel, or on AWGN where the
channel is another, with nothing wrong; they are paired: the same images, and on one model the same
noise, which pilots shift: they are sent before the tokens, and meet its beginning.
""",
    run=run,
)
