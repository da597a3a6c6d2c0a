"""What an eavesdropper can draw of a picture from the symbols that cross the link, with merging and without."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cloud.torch_classifier import TorchClassifier
from edge.torch_engine import TorchEngine
from experiments.harness.experiment import Experiment
from experiments.harness.options import BUNDLE, LIMIT
from experiments.harness.report import Report
from experiments.harness.setting import TEST, TRAIN, Setting, data_set
from experiments.privacy.attacker import Attacker, Recipe, to_pixels
from experiments.privacy.inversion import Search, by_place, mismatch, search
from experiments.privacy.outcome import (
    EARS,
    LARGEST_SMALL,
    SNR_DB,
    Attack,
    Sample,
    by_epoch,
    by_uses,
    cases,
    equal_uses,
    grid,
    networks,
    searches,
    sent,
)
from experiments.privacy.overheard import Frames, transmit
from offline.data.images import LabelledImages, load
from policies.policy import Policy


@dataclass(frozen=True)
class Scale:
    """How many images there are of each kind, and how long the attackers work."""

    own: int
    watched: int
    test: int
    searched: int
    recipe: Recipe
    search: Search


FULL = Scale(
    own=20_000,
    watched=200,
    test=500,
    searched=16,
    recipe=Recipe(epochs=8, batch_size=64, learning_rate=3e-3),
    search=Search(),
)
# Where the device takes a hundred times as long for an image.
LARGE = Scale(
    own=1000,
    watched=50,
    test=100,
    searched=4,
    recipe=Recipe(epochs=8, learning_rate=3e-3),
    search=Search(),
)
QUICK_LARGE = Scale(own=16, watched=4, test=8, searched=2, recipe=Recipe(epochs=1, batch_size=8, width=16),
                    search=Search(steps=1))  # fmt: skip
QUICK = Scale(own=256, watched=64, test=64, searched=8, recipe=Recipe(epochs=1, width=16), search=Search(steps=2))


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


def _search(
    setting: Setting, scale: Scale, engine: TorchEngine, attack: Attack, policy: Policy
) -> dict[str, NDArray[Any]]:
    """Search for the first test images from where the network left them."""
    chosen = torch.arange(scale.searched)

    def compute() -> dict[str, object]:
        start = torch.from_numpy(attack.drawn[: scale.searched]).permute(0, 3, 1, 2) / 255
        received, places = attack.received.take(chosen), attack.places[chosen]
        found = search(engine, received, places, start, policy, SNR_DB, scale.search)
        target = by_place(received.pairs, places)
        with torch.inference_mode():
            far = [mismatch(engine, target, images, policy, SNR_DB).tolist() for images in (start, found)]
        return {"pixels": to_pixels(found).tolist(), "before": far[0], "after": far[1]}

    kept = setting.kept(f"search {attack.label} {attack.ear} {scale}", compute)
    return {name: np.array(values, dtype=np.uint8 if name == "pixels" else None) for name, values in kept.items()}


def run(setting: Setting) -> Report:
    """Measure; see `EXPERIMENT`."""
    bundle = setting.bundle
    scales = (LARGE, QUICK_LARGE) if bundle.preprocessing.size > LARGEST_SMALL else (FULL, QUICK)
    scale = scales[setting.quick]
    engine, classifier = TorchEngine.load(bundle), TorchClassifier.load(bundle)
    policies = cases(bundle)
    source = str(setting.file(TRAIN.format(data_set(bundle))))
    train = load(source, bundle.preprocessing, bundle.labels, part="train", limit=scale.own)
    select = load(source, bundle.preprocessing, bundle.labels, part="select", limit=scale.watched)
    own, watched = _sample(setting, engine, "own", train), _sample(setting, engine, "watched", select)
    images = setting.images(bundle, limit=min(scale.test, setting.options.limit or scale.test))
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
            sent(policies, attacks, classifier, images),
            networks(attacks, blank, classifier, own, test),
            equal_uses(attacks, test),
            searches(attacks, searched, test),
        ],
        plots=[by_uses(attacks, test), by_epoch(attacks)],
        remarks=[
            f"Rows of the first picture, from above: the images, the mean of the attacker's own, and what the network "
            f"draws: {names}. The second: the images, and what the search makes of all but the last of these.",
            "LPIPS is left out: it needs weights that were trained elsewhere, which this project neither ships nor "
            "fetches. The plain model's accuracy on the drawings takes the place of a perceptual metric.",
        ],
        pictures={
            "network": grid([images.pixels, blank, *drawn]),
            "search": grid([kept, *(one["pixels"] for one in searched.values())]),
        },
    )


EXPERIMENT = Experiment(
    name="privacy",
    title="What an eavesdropper can draw",
    about="""
The paper (arXiv 2509.09955) says that merging substantially degrades model inversion. Here an eavesdropper tries,
against the bundle `{bundle}`: [docs/privacy.md](../privacy.md) has what it knows and how it works. It receives whole
frames, either without noise, as beside the antenna, or as the cloud does (AWGN, 10 dB); the device encodes for 10 dB
in both cases. Its network is trained anew for each row, all with the same images and steps, on images of *train*; the
figures are of test images, the same for all rows, with standard errors over images, and differences are paired.
"Within so many uses" is what these budgets choose (50%, 20% and 5% of the unmerged reference). Without merging no frame
takes less than a symbol for each token, so that is where the two are compared at equal uses, by the first policy at a
higher rate. The uncoded tokens show what the network can draw where no codec stands in its way;
the mean image is what it draws if it learns nothing.
""",
    run=run,
    data=(TRAIN, TEST),
    options=BUNDLE | LIMIT,
    packages=("skimage",),
)
