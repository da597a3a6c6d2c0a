"""How much depends on the frozen codec: other channels to train over, another encoder."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import torch

from experiments.harness.experiment import Experiment
from experiments.harness.options import BUNDLE, LIMIT, Option
from experiments.harness.report import Cell, Estimate, Report, Table, accuracy, change
from experiments.harness.setting import TEST, TRAIN, Setting, data_set, three_policies
from offline.bundles.write import write_bundle
from offline.data.images import load
from offline.measure.evaluator import BYPASS, Evaluator
from offline.recipes.recipe import load_recipe
from offline.train.jscc import CHANNELS, CodecTrainer, token_features
from offline.train.teachers import LabelTeacher
from policies.choice import Choice
from thinwire.bundle import MANIFEST, MLP, Bundle, load_bundle
from thinwire.channels import Channel
from thinwire.errors import InvalidRequestError
from thinwire.nn.merging.transformer import rules_for
from thinwire.nn.towers.timm_tower import TimmTower
from thinwire.nn.weights import load_backbone

RECIPE = "cifar10"
MIX = (
    "awgn",
    "rayleigh",
    "rician:k_db=3,coherence=16",
    "gilbert_elliott",
    "erasure:share=0.2",
    "phase_noise",
    "clipping",
)
# Those of the mix that disturb most, and one that no pair has met.
MEASURED = ("awgn", "rayleigh", "rician:k_db=3,coherence=16", "gilbert_elliott", "erasure:share=0.2", "jakes")
SNRS_DB = (0.0, 10.0)
EPOCHS, QUICK_EPOCHS = 8, 1
QUICK_IMAGES = 1024
SAMPLE = 2000
RATES_SNR_DB = (-5.0, 0.0, 5.0, 10.0, 15.0, 20.0)
SHIPPED = "as shipped"


CONTROL = "mlp, two channels"
# Architecture of the encoder, and channels to train over.
PAIRS = {CONTROL: (MLP, CHANNELS), "mlp, mix": (MLP, MIX), "attention, mix": ("attention", MIX)}


def _trained(setting: Setting, shipped: Bundle) -> dict[str, Bundle]:
    """A bundle of each pair around the shipped backbone; what an earlier run has trained is not trained again."""
    recipe = load_recipe(RECIPE)
    training = replace(recipe.codec_training, epochs=QUICK_EPOCHS if setting.quick else EPOCHS)
    model = load_backbone(shipped)

    @cache
    def features() -> torch.Tensor:
        source, limit = str(setting.file(TRAIN.format(data_set(shipped)))), QUICK_IMAGES if setting.quick else None
        train = load(source, shipped.preprocessing, shipped.labels, part="train", limit=limit)
        return token_features(
            TimmTower(model), shipped.split_layer, train.pixels, shipped.preprocessing, shipped.prefix_tokens
        )

    bundles = {}
    for label, (encoder, channels) in PAIRS.items():
        folder = setting.folder / label.replace(", ", "-").replace(" ", "-")
        if not (folder / MANIFEST).exists():
            codec = replace(recipe.codec, encoder=encoder)
            trainer = CodecTrainer(
                LabelTeacher(model, shipped.split_layer, shipped.merging.proportional_attention),
                codec,
                replace(training, channels=channels),
                features(),
                folder.with_suffix(".ckpt"),
                setting.seed,
            )
            trainer.run()
            write_bundle(
                replace(shipped, codec=codec, reference=None, exports={}, folder=folder),
                {"backbone": model, "encoder": trainer.encoder, "decoder": trainer.decoder},
            )
        bundles[label] = load_bundle(folder)
    return bundles


class _Measured:
    """What each pair answers under each policy on each channel, over the same images and noise."""

    def __init__(self, setting: Setting, bundles: Mapping[str, Bundle], choices: Mapping[str, Choice]) -> None:
        self._setting, self._choices = setting, choices
        images = setting.images(next(iter(bundles.values())), limit=SAMPLE)
        self.evaluators = {label: Evaluator.load(bundle, images) for label, bundle in bundles.items()}
        # The backbone is the same in all, so that what it gives serves every pair.
        self._parts = cache(lambda thresholds: self.evaluators[SHIPPED].transform(rules_for(thresholds)))

    def __call__(self, pair: str, policy: str, channel: str, snr_db: float) -> dict[str, Any]:
        """``right`` for each image, and the means of ``gmacs`` and ``uses``."""

        def compute() -> dict[str, Any]:
            chosen, cap = self._choices[policy].policy, self._choices[policy].cap
            parts, over = self._parts(chosen.thresholds), Channel(channel, snr_db)
            evaluator, seed = self.evaluators[pair], self._setting.seed
            measured = evaluator.measure(parts, chosen.symbols_per_token, over, seed, cap, chosen.max_tokens)
            return {
                "right": measured.right.tolist(),
                "gmacs": float(measured.edge_gmacs.mean()),
                "uses": float(measured.uses.mean()),
            }

        found: dict[str, Any] = self._setting.kept(f"{pair} | {policy} | {channel} | {snr_db}", compute)
        return found


def _costs(measured: _Measured, policies: Iterable[str]) -> Table:
    rows = []
    for label, evaluator in measured.evaluators.items():
        cost, encoder = evaluator.engine.cost, evaluator.engine.encoder
        row: dict[str, Cell] = {
            "pair": label,
            "parameters of the encoder": sum(parameter.numel() for parameter in encoder.parameters()),
            "its MMACs, 64 tokens": cost.encoding(64) / 1e6,
            "its MMACs, 9 tokens": cost.encoding(9) / 1e6,
        }
        gmacs = {policy: measured(label, policy, MEASURED[0], SNRS_DB[-1])["gmacs"] for policy in policies}
        rows.append(row | {f"edge GMACs, {policy}": found for policy, found in gmacs.items()})
    digits = {name: 4 if "GMACs" in name else 2 for name in rows[0] if "MACs" in name}
    return Table("What the encoders cost", rows, digits)


def _accuracies(measured: _Measured, policy: str) -> tuple[Table, Table]:
    absolute, relative = [], []
    for snr_db in SNRS_DB:
        right = {
            label: {channel: measured(label, policy, channel, snr_db)["right"] for channel in MEASURED}
            for label in measured.evaluators
        }
        for label, by_channel in right.items():
            head: dict[str, Cell] = {"SNR, dB": f"{snr_db:g}", "pair": label}
            absolute.append(head | {channel: accuracy(found) for channel, found in by_channel.items()})
            if label != CONTROL:
                control = right[CONTROL]
                relative.append(head | {name: change(found, control[name]) for name, found in by_channel.items()})
    uses = measured(SHIPPED, policy, MEASURED[0], SNRS_DB[-1])["uses"]
    return (
        Table(f"{policy}: accuracy, %, at {uses:.1f} uses on average", absolute),
        Table(f"{policy}: points above the pair `{CONTROL}`", relative),
    )


def _rates(setting: Setting) -> Report:
    """A bundle's own pair without merging, at every rate and SNR."""
    bundle = setting.bundle
    evaluator = Evaluator.load(bundle, setting.images(bundle, limit=setting.options.limit))
    transformed = evaluator.transform([None] * bundle.steps)

    def measured(rate: int, channel: Channel) -> Estimate:
        return accuracy(evaluator.measure(transformed, rate, channel, setting.seed).right.tolist())

    def row(channel: str, rate: int) -> dict[str, Cell]:
        found = {f"{snr_db:g} dB": measured(rate, Channel(channel, snr_db)) for snr_db in RATES_SNR_DB}
        return {"symbols per token": rate, **found}

    rates = bundle.codec.rates
    tables = [Table(f"{name}: accuracy, %", [row(name, rate) for rate in rates]) for name in CHANNELS]
    plain = Table("Without codec and channel", [{"accuracy, %": measured(rates[0], BYPASS)}])
    return Report([plain, *tables])


def run(setting: Setting) -> Report:
    """Train and measure; see `EXPERIMENT`."""
    if setting.options.rates:
        return _rates(setting)
    if setting.options.bundle != RECIPE or setting.options.limit:
        raise InvalidRequestError("codecs trains pairs for cifar10 alone: --bundle and --limit go with --rates")
    shipped = load_bundle(RECIPE)
    unmerged, _, fifth, twentieth = three_policies(shipped).items()
    choices = dict([unmerged, fifth, twentieth])
    measured = _Measured(setting, {SHIPPED: shipped, **_trained(setting, shipped)}, choices)
    tables = [_costs(measured, choices)]
    for policy in choices:
        tables += _accuracies(measured, policy)
    return Report(tables=tables)


EXPERIMENT = Experiment(
    name="codecs",
    title="How much depends on the codec",
    about=f"""
Policies are found for one frozen JSCC pair. Here the backbone of `cifar10` stays as it is, and {len(PAIRS)} pairs are
trained around it for {EPOCHS} epochs each: the shipped encoder (two layers per token) over the two channels of the
shipped recipe; the same over a mix of {len(MIX)}, {", ".join(f"`{name}`" for name in MIX)}; and over that mix one with
a transformer block between its layers. `{SHIPPED}` is the bundle's own pair, the first of them after 20 epochs.

{SAMPLE} test images, unmerged at the reference rate and under the policies that budgets of 20% and 5% of its uses
choose on AWGN at 10 dB; the policies were found with the shipped pair. Receivers know the channel. No pair has met
`jakes`. Differences are paired: the same images, the same noise.
""",
    run=run,
    data=(TEST, TRAIN),
    options=BUNDLE | LIMIT | {"rates": Option(False, "train nothing: the bundle's own pair at every rate and SNR")},
)
