"""What an eavesdropper can draw of a picture from the symbols that cross the link, with merging and without."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cloud.answerer import ReceivedTokens
from cloud.torch_classifier import TorchClassifier
from edge.torch_engine.engine import TorchEngine
from offline.data import LabelledImages, load, split_select
from offline.experiments.experiment import Experiment
from offline.experiments.report import Cell, Curve, Estimate, Plot, Report, Table
from offline.experiments.setting import Setting, three_policies
from offline.privacy.attacker import Attacker, Recipe, to_pixels
from offline.privacy.frames import Frames, transmit
from offline.privacy.inversion import Search, search
from offline.privacy.metrics import estimate, psnr, ssim
from policies.policy import Policy
from thinwire.bundle import Bundle, load_bundle

SNR_DB = 10.0
# What the eavesdropper hears: every symbol as it is sent, or what the cloud hears.
EARS = {"noiseless": None, "at 10 dB": SNR_DB}
UNMERGED, LOW_RATE, UNCODED = "no merging", "no merging, S = 1", "no merging, uncoded tokens"
EQUAL_USES = "within 96 uses, S = 6"
SHOWN, ENLARGED, GROUP = 8, 2, 100


@dataclass(frozen=True)
class Scale:
    """How many images there are of each kind, and how long the attackers work."""

    own: int
    watched: int
    test: int
    searched: int
    recipe: Recipe
    search: Search


FULL = Scale(own=5000, watched=200, test=500, searched=16, recipe=Recipe(epochs=4), search=Search())
QUICK = Scale(own=256, watched=64, test=64, searched=8, recipe=Recipe(epochs=1, width=16), search=Search(steps=2))


def cases(bundle: Bundle) -> dict[str, Policy | None]:
    """What is attacked, by a label; None stands for tokens that no codec has touched."""
    chosen = {label: choice.policy for label, choice in three_policies(bundle).items()}
    first = next(policy for label, policy in chosen.items() if label != "unmerged")
    return {
        UNMERGED: chosen.pop("unmerged"),
        LOW_RATE: Policy.unmerged(bundle.split_layer, 1),
        EQUAL_USES: Policy.create(first.thresholds, 6, first.max_tokens),
        **chosen,
        UNCODED: None,
    }


@dataclass(frozen=True)
class Sample:
    """Images, and what is sent of them in each case, before the channel."""

    images: LabelledImages
    frames: Mapping[str, Frames]

    @property
    def pixels(self) -> NDArray[np.float32]:
        """``n x size x size x 3`` in [0, 1]."""
        return self.images.pixels / np.float32(255)


@dataclass(frozen=True)
class Attack:
    """What came of one case and one ear on ``n`` test images.

    Attributes:
        label: of the case.
        ear: of `EARS`.
        received: the frames that were attacked.
        curve: PSNR in dB on the watched images after each epoch of training.
        drawn: ``n x size x size x 3`` pixels by the network.
        places: ``n x patches``, the token that the network takes each patch to be in.
    """

    label: str
    ear: str
    received: Frames
    curve: list[float]
    drawn: NDArray[np.uint8]
    places: torch.Tensor


def _sample(setting: Setting, engine: TorchEngine, part: str, images: LabelledImages) -> Sample:
    policies = cases(engine.bundle)
    paths = {label: setting.folder / f"{part}-{number}.npz" for number, label in enumerate(policies)}
    if not all(path.exists() for path in paths.values()):
        for label, frames in transmit(engine, images.pixels, policies, SNR_DB).items():
            frames.save(paths[label])
    return Sample(images, {label: Frames.load(path) for label, path in paths.items()})


def _attack(setting: Setting, scale: Scale, label: str, ear: str, own: Sample, watched: Sample, test: Sample) -> Attack:
    snr_db = EARS[ear]
    checkpoint = setting.folder / f"{label} {ear}.pt".replace(" ", "-")
    attacker = Attacker(own.frames[label], own.images.pixels, snr_db, scale.recipe, checkpoint, setting.seed)
    heard, received = (
        part.frames[label].through_keyed_noise(snr_db, part.images.names, setting.seed) for part in (watched, test)
    )
    curve = attacker.run(heard, watched.images.pixels)
    return Attack(label, ear, received, curve, *attacker.draw(received))


def _search(setting: Setting, scale: Scale, engine: TorchEngine, attack: Attack, policy: Policy) -> NDArray[np.uint8]:
    """Pixels of the first test images by optimisation, from where the network left them."""
    chosen = torch.arange(scale.searched)

    def compute() -> list[object]:
        start = torch.from_numpy(attack.drawn[: scale.searched]).permute(0, 3, 1, 2) / 255
        found = search(engine, attack.received.take(chosen), attack.places[chosen], start, policy, SNR_DB, scale.search)
        pixels: list[object] = to_pixels(found).tolist()
        return pixels

    return np.array(setting.kept(f"search {attack.label} {attack.ear} {scale}", compute), dtype=np.uint8)


def _accuracy(right: NDArray[np.bool_]) -> Estimate:
    return estimate(100.0 * right)


def _recognised(classifier: TorchClassifier, pixels: NDArray[np.uint8], images: LabelledImages) -> Estimate:
    """Share of pictures that the bundle's plain model sees the right class in, in percent."""
    logits = [classifier.classify_images(pixels[start : start + GROUP]) for start in range(0, len(pixels), GROUP)]
    return _accuracy(np.concatenate(logits).argmax(1) == images.labels[: len(pixels)])


def _answered(classifier: TorchClassifier, received: Frames, images: LabelledImages) -> Estimate:
    """The cloud's own accuracy on what it receives, in percent."""
    symbols = torch.view_as_complex(received.pairs).numpy()
    frames = [
        ReceivedTokens(row[:count], 10 ** (-SNR_DB / 10))
        for row, count in zip(symbols, received.counts.tolist(), strict=True)
    ]
    return _accuracy(classifier.classify_frames(frames).argmax(1) == images.labels)


def _grid(rows: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Rows of pictures, as one."""
    joined = np.concatenate([np.concatenate(row[:SHOWN], axis=1) for row in rows])
    return joined.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)


def run(setting: Setting) -> Report:
    """Measure; see `EXPERIMENT`."""
    scale = QUICK if setting.quick else FULL
    bundle = load_bundle("cifar10")
    engine, classifier = TorchEngine.load(bundle), TorchClassifier.load(bundle)
    policies = cases(bundle)
    train, select = split_select(load(str(setting.file("cifar10-train.tar")), bundle.preprocessing, bundle.labels))
    own = _sample(setting, engine, "own", train.even_sample(scale.own))
    watched = _sample(setting, engine, "watched", select.even_sample(scale.watched))
    images = setting.images(bundle, limit=scale.test)
    assert isinstance(images, LabelledImages)
    # A tar has class after class, and the first images are those that are searched and shown.
    images = images.take(np.random.default_rng(setting.seed).permutation(len(images)))
    test = _sample(setting, engine, "test", images)
    attacks = [
        _attack(setting, scale, label, ear, own, watched, test)
        for label, policy in policies.items()
        for ear in (EARS if policy is not None else list(EARS)[:1])
    ]
    searched = {
        index: _search(setting, scale, engine, attack, policy)
        for index, attack in enumerate(attacks)
        if (policy := policies[attack.label]) is not None
    }
    blank = np.broadcast_to(own.images.pixels.mean(0).round().astype(np.uint8), images.pixels.shape)
    drawn = [attack.drawn for attack in attacks]
    names = ", ".join(f"{attack.label} ({attack.ear})" for attack in attacks)
    kept = images.pixels[: scale.searched]
    return Report(
        tables=[
            _sent(policies, attacks, classifier, images),
            _networks(attacks, blank, classifier, test),
            _equal_uses(attacks, test),
            _searches(attacks, searched, test),
        ],
        plots=[_by_uses(attacks, test), _by_epoch(attacks)],
        remarks=[
            f"Rows of the first picture, from above: the images, the mean of the attacker's own, and what the network "
            f"draws: {names}. The second: the images, and what the search makes of all but the last of these.",
            "LPIPS is left out: it needs weights that were trained elsewhere, which this project neither ships nor "
            "fetches. The plain model's accuracy on the drawings stands in for a judge that is no pixel error.",
        ],
        pictures={
            "network": _grid([images.pixels, blank, *drawn]),
            "search": _grid([kept, *searched.values()]),
        },
    )


def _sent(
    policies: Mapping[str, Policy | None],
    attacks: Sequence[Attack],
    classifier: TorchClassifier,
    images: LabelledImages,
) -> Table:
    heard = {attack.label: attack.received for attack in attacks if attack.ear != "noiseless"}
    rows: list[dict[str, Cell]] = [
        {
            "sent": label,
            "symbols per token": policy.symbols_per_token,
            "tokens": float(heard[label].counts.double().mean()),
            "channel uses": heard[label].uses,
            "the cloud's accuracy at 10 dB, %": _answered(classifier, heard[label], images),
        }
        for label, policy in policies.items()
        if policy is not None
    ]
    return Table(f"What is sent of {len(images)} test images", rows)


def _networks(attacks: Sequence[Attack], blank: NDArray[np.uint8], classifier: TorchClassifier, test: Sample) -> Table:
    true, images = test.pixels, test.images
    base = {attack.ear: _psnr(attack.drawn, true) for attack in attacks if attack.label == UNMERGED}
    rows: list[dict[str, Cell]] = []
    for label, ear, drawn in [
        ("nothing: the mean image", "", blank), *((attack.label, attack.ear, attack.drawn) for attack in attacks)
    ]:  # fmt: skip
        ratio = _psnr(drawn, true)
        placed = [
            (attack.places == attack.received.origin).double().mean(1).numpy()
            for attack in attacks
            if (attack.label, attack.ear) == (label, ear)
        ]
        rows.append(
            {
                "sent": label,
                "the eavesdropper hears": ear,
                "PSNR, dB": estimate(ratio),
                "less unmerged, dB": estimate(ratio - base[ear or "noiseless"]) if label != UNMERGED else None,
                "SSIM": estimate(ssim(drawn / np.float32(255), true)),
                "class recognised, %": _recognised(classifier, drawn, images),
                "patches placed, %": _accuracy(placed[0]) if placed else None,
            }
        )
    return Table("A network that draws", rows, digits={"PSNR, dB": 2, "less unmerged, dB": 2, "SSIM": 3})


def _equal_uses(attacks: Sequence[Attack], test: Sample) -> Table:
    by_case = {(attack.label, attack.ear): attack for attack in attacks}
    rows: list[dict[str, Cell]] = []
    for ear in EARS:
        few, merged = (by_case[label, ear].drawn for label in (LOW_RATE, EQUAL_USES))
        similarity = [ssim(drawn / np.float32(255), test.pixels) for drawn in (merged, few)]
        rows.append(
            {
                "the eavesdropper hears": ear,
                "uses, merged": by_case[EQUAL_USES, ear].received.uses,
                "uses, unmerged at S = 1": by_case[LOW_RATE, ear].received.uses,
                "PSNR merged less unmerged, dB": estimate(_psnr(merged, test.pixels) - _psnr(few, test.pixels)),
                "SSIM merged less unmerged": estimate(similarity[0] - similarity[1]),
            }
        )
    digits = {"PSNR merged less unmerged, dB": 2, "SSIM merged less unmerged": 3}
    return Table("At about equal channel uses, paired: fewer tokens, or fewer symbols for each", rows, digits=digits)


def _searches(attacks: Sequence[Attack], searched: Mapping[int, NDArray[np.uint8]], test: Sample) -> Table:
    rows: list[dict[str, Cell]] = []
    for index, pixels in searched.items():
        attack, true = attacks[index], test.pixels[: len(pixels)]
        start = attack.drawn[: len(pixels)]
        rows.append(
            {
                "sent": attack.label,
                "the eavesdropper hears": attack.ear,
                "PSNR of the network, dB": estimate(_psnr(start, true)),
                "after the search, dB": estimate(_psnr(pixels, true)),
                "change, dB": estimate(_psnr(pixels, true) - _psnr(start, true)),
                "SSIM of the network": estimate(ssim(start / np.float32(255), true)),
                "SSIM after the search": estimate(ssim(pixels / np.float32(255), true)),
            }
        )
    digits = {name: 3 if name.startswith("SSIM") else 2 for name in list(rows[0])[2:]}
    return Table(f"A search that starts from its drawing, {len(true)} images", rows, digits=digits)


def _psnr(drawn: NDArray[np.uint8], true: NDArray[np.float32]) -> NDArray[np.float64]:
    return psnr(drawn / np.float32(255), true)


def _by_uses(attacks: Sequence[Attack], test: Sample) -> Plot:
    panels = {}
    for ear in EARS:
        curves = []
        for name, labels in (
            ("no merging", (UNMERGED, LOW_RATE)),
            ("merging", [attack.label for attack in attacks if attack.label.startswith("within")]),
        ):
            points = sorted(
                (attack.received.uses, estimate(_psnr(attack.drawn, test.pixels)))
                for attack in attacks
                if attack.ear == ear and attack.label in labels
            )
            uses, ratios = zip(*points, strict=True)
            curves.append(Curve(name, uses, [one.value for one in ratios], [one.se for one in ratios]))
        panels[ear] = curves
    return Plot("uses", "channel uses, mean", "PSNR of the network's drawing, dB", panels, log_x=True, scatter=True)


def _by_epoch(attacks: Sequence[Attack]) -> Plot:
    panels = {
        ear: [
            Curve(attack.label, list(range(1, len(attack.curve) + 1)), attack.curve)
            for attack in attacks
            if attack.ear == ear
        ]
        for ear in EARS
    }
    return Plot("training", "epoch", "PSNR on watched images, dB", panels)


EXPERIMENT = Experiment(
    name="privacy",
    title="What an eavesdropper can draw",
    about="""
The paper (arXiv 2509.09955) says that merging gives privacy of itself, in that it degrades model inversion
substantially. Here an eavesdropper tries, against the bundle `cifar10`: [docs/privacy.md](../privacy.md) has what it
knows and how it works. It receives whole frames, either without noise, as beside the antenna, or as the cloud does
(AWGN, 10 dB); the device encodes for 10 dB in both cases. Its network is trained anew for each row, all with the same
images and steps, on images of *train*; the figures are of test images, the same for all rows, with standard errors
over images, and differences are paired. "Within 96, 38 and 9 uses" are what these budgets choose (50%, 20% and 5% of
the unmerged reference). Without merging no frame takes less than 64 uses (one symbol for each token), so that is where
the two are compared at equal uses, by the first policy at a higher rate. The uncoded tokens show what the network can
draw where no codec stands in its way; the mean image is what it draws if it learns nothing.
""",
    run=run,
    data=("cifar10-train.tar", "cifar10-test.tar"),
    packages=("skimage",),
)
