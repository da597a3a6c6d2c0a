"""Errors in transcripts over tokens, uses and SNR: merging beside shorter clips, averages, Opus and the text."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

from deploy.cli.common import positive_int
from experiments.harness.experiment import Experiment
from experiments.harness.options import Option
from experiments.harness.report import Cell, Curve, Plot, Report, Table
from experiments.harness.setting import Setting
from experiments.speech.choices import CHANNEL, UNMERGED, short, ways_of
from experiments.speech.digital import opus, text, uses_over
from experiments.speech.opus import BIT_RATE
from experiments.speech.outcome import Outcome
from experiments.speech.plain import same_transcripts
from experiments.speech.timing import timed
from experiments.speech.ways import POSITIONS_PER_SECOND, Way, measure
from offline.data.utterances import Utterances, load_utterances
from offline.measure.evaluator import BYPASS, Evaluator
from thinwire.channels import Channel
from thinwire.cores import usable_cores
from thinwire.exports import EDGE
from thinwire.nn.placement import Placement

TEST = "digits-test.tar"
SNRS_DB = (-5.0, 0.0, 5.0, 10.0, 15.0, 20.0)
MODELS = {"AWGN": "awgn", "Rayleigh, one gain per frame": "rayleigh"}
OPUS, TEXT = f"Opus at {BIT_RATE // 1000} kb/s, the model in the cloud", "text, the whole model on the device"
# Digits of a long clip, and one of these for so many others.
LONG, SHORT_TO_LONG = 20, 4
# Utterances of a quick run, and those whose transcripts are compared with transformers' own, and that are timed.
QUICK, COMPARED, TIMED = 3, 100, 40

# On one channel, by name.
Found = Mapping[str, Outcome]
# By the channel's name and SNR.
Points = Mapping[tuple[str, float], Outcome]


def run(setting: Setting) -> Report:
    """Measure; see `EXPERIMENT`."""
    limit = QUICK if setting.quick else setting.options.limit
    utterances = load_utterances(str(setting.file(TEST)), limit=limit)
    # The cloud's side in the same numbers as the device's.
    evaluator = Evaluator.load(setting.bundle, utterances, Placement("float32"))
    ways, main = ways_of(evaluator.bundle, setting.quick)
    both = {label: _measured(setting, evaluator, label, way, (BYPASS, CHANNEL)) for label, way in ways.items()}
    bare, sent = ({label: outcomes[place] for label, outcomes in both.items()} for place in (0, 1))
    digital = {
        OPUS: Outcome.of(utterances, setting.kept("opus", partial(opus, evaluator))),
        TEXT: Outcome.of(utterances, setting.kept("text", partial(text, evaluator))),
    }
    snrs = SNRS_DB[::5] if setting.quick else SNRS_DB
    points = list(product(MODELS, snrs))
    channels = [Channel(MODELS[name], snr_db) for name, snr_db in points]
    curves: dict[str, Points] = {
        label: dict(zip(points, _measured(setting, evaluator, label, ways[label], channels), strict=True))
        for label in main
    }
    tables = [
        Table("Without a channel", [_row(label, one, bare[UNMERGED]) for label, one in bare.items()], DIGITS),
        Table(
            "AWGN at 10 dB",
            [_row(label, one, bare[UNMERGED]) for label, one in (sent | _sent(digital, CHANNEL)).items()],
            DIGITS,
        ),
        *_long(setting, {label: ways[label] for label in main}, max(2, limit // SHORT_TO_LONG)),
        Table("Error rate over SNR, %", _over_snr(curves, snrs)),
        Table("Less that of the unmerged model, points", _changes(curves, snrs)),
        Table("Channel uses for a second of speech that bits take, at capacity", _bits(digital, snrs)),
    ]
    if EDGE in evaluator.bundle.exports:
        tables.append(timed(evaluator, {label: ways[label] for label in main}, usable_cores(), TIMED))
    same = setting.kept("transformers", partial(same_transcripts, evaluator, COMPARED))
    return Report(
        tables,
        [_plot("tokens", bare), _plot("uses", sent), _snr_plot(curves, snrs)],
        [
            f"{len(utterances)} utterances, {utterances.seconds.sum():.0f} s together; unmerged and without a channel, "
            f"{same['same']} of {same['of']} transcripts are transformers' own to the letter.",
            *_uses_remark(sent, digital),
        ],
    )


def _measured(
    setting: Setting, evaluator: Evaluator, label: str, way: Way, channels: Sequence[Channel]
) -> list[Outcome]:
    assert isinstance(evaluator.images, Utterances)
    digits = len(evaluator.images.utterances[0].digits)
    key = f"{digits} digits {label} {way} {[(one.model, one.snr_db) for one in channels]}"
    found: list[dict[str, Any]] = setting.kept(key, partial(measure, evaluator, way, channels, setting.seed))
    return [Outcome.of(evaluator.images, one) for one in found]


DIGITS = {"edge GMACs": 3}


def _row(label: str, one: Outcome, unmerged: Outcome) -> dict[str, Cell]:
    return {
        "sent": label,
        "error rate, %": one.rate,
        "less the unmerged model's": None if one is unmerged else one.change_from(unmerged),
        "by speaker": one.speakers,
        "bounded, %": one.bounded.rate,
        "bounded, less the unmerged model's": None if one is unmerged else one.bounded.change_from(unmerged.bounded),
        "more errors than digits, %": one.repeats,
        "tokens": float(one.tokens.mean()),
        "of the unmerged, %": 100 * float(one.tokens.mean() / unmerged.tokens.mean()),
        "uses": float(one.uses.mean()),
        "uses a second": one.uses_per_second,
        "edge GMACs": float(one.gmacs.mean()),
        "of the unmerged's, %": 100 * float(one.gmacs.mean() / unmerged.gmacs.mean()),
    }


def _long(setting: Setting, ways: Mapping[str, Way], count: int) -> list[Table]:
    """Clips of more digits; no table of a model whose window is shorter."""
    utterances = load_utterances(str(setting.file(TEST)), limit=count, digits=LONG)
    if utterances.seconds.max() * POSITIONS_PER_SECOND > setting.bundle.patches:
        return []
    evaluator = Evaluator.load(setting.bundle, utterances, Placement("float32"))
    found = {label: _measured(setting, evaluator, label, way, (BYPASS, CHANNEL)) for label, way in ways.items()}
    rows = [_long_row(label, *one) for label, one in found.items()]
    return [Table(f"Long clips: {count} of {LONG} digits", rows)]


def _long_row(label: str, bare: Outcome, sent: Outcome) -> dict[str, Cell]:
    return {
        "sent": label,
        "error rate without a channel, %": bare.rate,
        "AWGN at 10 dB, %": sent.rate,
        "bounded, %": sent.bounded.rate,
        "bounded, less that without a channel": sent.bounded.change_from(bare.bounded),
        "tokens": float(sent.tokens.mean()),
        "uses a second": sent.uses_per_second,
        "edge GMACs": float(sent.gmacs.mean()),
    }


def _sent(digital: Found, channel: Channel) -> dict[str, Outcome]:
    """Bits as the uses that they take."""
    return {
        label: replace(one, uses=uses_over(one.uses, channel.model, channel.snr_db)) for label, one in digital.items()
    }


def _over_snr(curves: Mapping[str, Points], snrs: Sequence[float]) -> list[dict[str, Cell]]:
    return [
        {"channel": name, "sent": label, **{f"{snr_db:g} dB": points[name, snr_db].rate for snr_db in snrs}}
        for name in MODELS
        for label, points in curves.items()
    ]


def _changes(curves: Mapping[str, Points], snrs: Sequence[float]) -> list[dict[str, Cell]]:
    unmerged = curves[UNMERGED]
    return [
        {
            "channel": name,
            "sent": label,
            **{f"{at:g} dB": points[name, at].change_from(unmerged[name, at]) for at in snrs},
        }
        for name in MODELS
        for label, points in curves.items()
        if label != UNMERGED
    ]


def _bits(digital: Found, snrs: Sequence[float]) -> list[dict[str, Cell]]:
    return [
        {
            "channel": name,
            "sent": label,
            "error rate, %": one.rate,
            **{f"{at:g} dB": replace(one, uses=uses_over(one.uses, model, at)).uses_per_second for at in snrs},
        }
        for name, model in MODELS.items()
        for label, one in digital.items()
    ]


def _uses_remark(sent: Found, digital: Found) -> list[str]:
    """How many uses Opus takes for each of the way that needs fewest and errs no more, as far as one can tell.

    By bounded errors: a transcript that repeats itself would hide what happens to all others.
    """
    coded = _sent(digital, CHANNEL)[OPUS]
    changes = {label: one.bounded.change_from(coded.bounded) for label, one in sent.items()}
    as_good = [label for label, change in changes.items() if change.value <= 2 * change.se]
    if not as_good:
        return [f"Every way errs more than {OPUS}."]
    best = min(as_good, key=lambda label: sent[label].uses_per_second)
    ratio = coded.uses_per_second / sent[best].uses_per_second
    return [
        f"Of the ways that err no more than {OPUS} at AWGN of 10 dB, bounded and by two standard errors, {best} takes "
        f"fewest uses: Opus takes {ratio:.1f} times as many."
    ]


def _plot(name: str, found: Found) -> Plot:
    def along(one: Outcome) -> float:
        return float(one.tokens.mean()) if name == "tokens" else one.uses_per_second

    kinds: dict[str, list[Outcome]] = {}
    for label, one in found.items():
        kinds.setdefault(short(label), []).append(one)
    curves = []
    for kind, members in kinds.items():
        members.sort(key=along)
        curves.append(Curve.through(kind, [along(one) for one in members], [one.rate for one in members]))
    label = {"tokens": "tokens", "uses": "channel uses for a second of speech"}[name]
    return Plot(name, label, "error rate, %", {"": curves}, log_x=True, scatter=True)


def _snr_plot(curves: Mapping[str, Points], snrs: Sequence[float]) -> Plot:
    panels = {
        name: [Curve.through(label, snrs, [points[name, at].rate for at in snrs]) for label, points in curves.items()]
        for name in MODELS
    }
    return Plot("snr", "average SNR, dB", "error rate, %", panels)


EXPERIMENT = Experiment(
    name="speech",
    title="Speech: errors in transcripts of spoken digits",
    about="""
The bundle `{bundle}` on utterances of six digits of one speaker each, made of test recordings (Free Spoken Digit
Dataset). An error is a digit that is missing, another, or too many, and any other word. A decoder that repeats itself
makes dozens of errors in one utterance, of which the mean then speaks and not of the others: *bounded* counts at most
as many errors as there are digits in an utterance. Decoding is greedy, without timestamps and without a second attempt
at another temperature. Standard errors are over utterances; differences are paired, in the first two tables with the
unmerged model without a channel. *By speaker* has the lowest and the highest rate of one. Clips of
20 digits show whether what is said late in a window crosses the link as well.

Policies: merging of silence alone, in front of the first layer, where the bundle has that; and those of its front:
what budgets of 50%, 20% and 5% of the unmerged reference's uses choose at AWGN of 10 dB, and of those that lose
nothing on *select* (paired, within two standard errors) the one of fewest uses and the one of least compute. Beside
them: the encoder on the clip's own length and some silence, as whisper.cpp's audio context has it; voice only, which
is what an energy gate at 40 dB below the loudest frame leaves; the policy of fewest uses on top of both; plain
averages of 2, 4 and 8 of the encoder's tokens in time; Opus (libopus, 6 kb/s asked for, packets of 60 ms, no container)
for the whole model in the cloud, its bits at the channel's capacity; and the text of a device that has the whole
model, likewise, its decoder counted. On Rayleigh fading bits go by the ergodic capacity, which flatters them. A device
that sends sound computes nothing that is counted.

The paper has no speech.
""",
    run=run,
    bundles=("whisper-tiny-en",),
    data=(TEST,),
    packages=("av",),
    options={
        "bundle": Option("whisper-tiny-en", "name of a shipped bundle, or its folder"),
        "limit": Option(100, "utterances", kind=positive_int),
    },
)
