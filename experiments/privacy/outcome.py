"""The cases of the privacy experiment, and its tables and plots from what the attackers drew."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from channel.realisation import noise_variance
from cloud.torch_classifier import TorchClassifier
from experiments.harness.report import Cell, Curve, Estimate, Plot, Table, mean
from experiments.harness.setting import fronts_of, three_policies
from experiments.privacy.likeness import psnr, ssim
from experiments.privacy.overheard import Frames
from offline.data.images import LabelledImages
from policies.policy import Policy
from thinwire.bundle import Bundle
from thinwire.channels import Channel
from thinwire.equalise import ReceivedTokens

SNR_DB = 10.0
# What the eavesdropper hears: every symbol as it is sent, or what the cloud hears.
EARS = {"noiseless": None, "at 10 dB": SNR_DB}
AT_RATE = ", S = "
UNMERGED, LOW_RATE, UNCODED = "no merging", "no merging, S = 1", "no merging, uncoded tokens"
SHOWN, ENLARGED, GROUP = 8, 2, 100
# Pixels along the side; what is larger is shown at half its size, and takes the device so long that there is less.
LARGEST_SMALL = 64


def cases(bundle: Bundle) -> dict[str, Policy | None]:
    """What is attacked, by a label; None stands for tokens that no codec has touched."""
    chosen = {label: choice.policy for label, choice in three_policies(bundle).items()}
    label, first = next(one for one in chosen.items() if one[0] != "unmerged")
    # As many uses as a symbol for each token, by what the front says of the policy's tokens.
    front = fronts_of(bundle).nearest(Channel("awgn", SNR_DB)).policies
    tokens = next(one.objectives.tokens for one in front if one.policy.id == first.id)
    rate = min(bundle.codec.max_symbols_per_token, round((bundle.prefix_tokens + bundle.patches) / tokens))
    return {
        UNMERGED: chosen.pop("unmerged"),
        LOW_RATE: Policy.unmerged(bundle.steps, 1),
        f"{label}{AT_RATE}{rate}": Policy.create(first.thresholds, rate, first.max_tokens),
        **chosen,
        UNCODED: None,
    }


@dataclass(frozen=True)
class Sample:
    """Images, and what is sent of them in each case, before the channel."""

    images: LabelledImages
    frames: Mapping[str, Frames]


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


def equal_label(labels: Iterable[str]) -> str:
    """The case that merges and takes about as many uses as none with one symbol per token."""
    return next(label for label in labels if AT_RATE in label and label != LOW_RATE)


def _accuracy(right: NDArray[np.bool_]) -> Estimate:
    return mean(np.where(right, 100.0, 0.0))


def _recognised(classifier: TorchClassifier, pixels: NDArray[np.uint8], images: LabelledImages) -> Estimate:
    """Share of pictures that the bundle's plain model sees the right class in, in percent."""
    logits = [classifier.classify_images(pixels[start : start + GROUP]) for start in range(0, len(pixels), GROUP)]
    return _accuracy(np.concatenate(logits).argmax(1) == images.labels)


def _answered(classifier: TorchClassifier, received: Frames, images: LabelledImages) -> Estimate:
    """The cloud's own accuracy on what it receives, in percent."""
    symbols = torch.view_as_complex(received.pairs).numpy()
    frames = [
        ReceivedTokens(row[:count], noise_variance(SNR_DB))
        for row, count in zip(symbols, received.counts.tolist(), strict=True)
    ]
    return _accuracy(classifier.classify_frames(frames).argmax(1) == images.labels)


def grid(rows: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Rows of pictures, as one."""
    joined = np.concatenate([np.concatenate(row[:SHOWN], axis=1) for row in rows])
    if rows[0].shape[1] > LARGEST_SMALL:
        return joined[::2, ::2]
    return joined.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)


def sent(
    policies: Mapping[str, Policy | None],
    attacks: Sequence[Attack],
    classifier: TorchClassifier,
    images: LabelledImages,
) -> Table:
    """What crosses the link in each case, and what the cloud makes of it."""
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


def networks(
    attacks: Sequence[Attack], blank: NDArray[np.uint8], classifier: TorchClassifier, own: Sample, test: Sample
) -> Table:
    """What the networks draw, beside ``blank``, which needs no frame."""
    true = test.images.pixels
    base = {attack.ear: psnr(attack.drawn, true) for attack in attacks if attack.label == UNMERGED}

    def row(
        label: str, ear: str, drawn: NDArray[np.uint8], placed: Cell = None, blindly: Cell = None
    ) -> dict[str, Cell]:
        ratio = psnr(drawn, true)
        return {
            "sent": label,
            "the eavesdropper hears": ear,
            "PSNR, dB": mean(ratio),
            "less unmerged, dB": mean(ratio - base[ear or "noiseless"]) if label != UNMERGED else None,
            "SSIM": mean(ssim(drawn, true)),
            "class recognised, %": _recognised(classifier, drawn, test.images),
            "patches placed, %": placed,
            "blindly, %": blindly,
        }

    rows = [row("nothing: the mean image", "", blank)]
    for attack in attacks:
        origin = attack.received.origin
        # Without looking at the frame: where each patch went most often in the attacker's own images.
        usual = own.frames[attack.label].origin.mode(0).values
        placed, blindly = (mean(100 * (guess == origin).double().mean(1).numpy()) for guess in (attack.places, usual))
        rows.append(row(attack.label, attack.ear, attack.drawn, placed, blindly))
    return Table("A network that draws", rows, digits={"PSNR, dB": 2, "less unmerged, dB": 2, "SSIM": 3})


def equal_uses(attacks: Sequence[Attack], test: Sample) -> Table:
    """Few tokens of many symbols against all tokens of one."""
    by_case = {(attack.label, attack.ear): attack for attack in attacks}
    equal = equal_label(label for label, _ in by_case)
    rows: list[dict[str, Cell]] = []
    for ear in EARS:
        few, merged = (by_case[label, ear].drawn for label in (LOW_RATE, equal))
        similarity = [ssim(drawn, test.images.pixels) for drawn in (merged, few)]
        rows.append(
            {
                "the eavesdropper hears": ear,
                "uses, merged": by_case[equal, ear].received.uses,
                "uses, unmerged at S = 1": by_case[LOW_RATE, ear].received.uses,
                "PSNR merged less unmerged, dB": mean(psnr(merged, test.images.pixels) - psnr(few, test.images.pixels)),
                "SSIM merged less unmerged": mean(similarity[0] - similarity[1]),
            }
        )
    digits = {"PSNR merged less unmerged, dB": 2, "SSIM merged less unmerged": 3}
    return Table("At about equal channel uses, paired: fewer tokens, or fewer symbols for each", rows, digits=digits)


def searches(attacks: Sequence[Attack], searched: Mapping[int, Mapping[str, NDArray[Any]]], test: Sample) -> Table:
    """What the search adds: by the attack's index its ``pixels``, and mismatches ``before`` and ``after`` it."""
    rows: list[dict[str, Cell]] = []
    for index, found in searched.items():
        attack, true = attacks[index], test.images.pixels[: len(found["pixels"])]
        start = attack.drawn[: len(found["pixels"])]
        similar = [ssim(pixels, true) for pixels in (start, found["pixels"])]
        rows.append(
            {
                "sent": attack.label,
                "the eavesdropper hears": attack.ear,
                "mismatch of the network's drawing, %": mean(100 * found["before"]),
                "after the search, %": mean(100 * found["after"]),
                "PSNR of the network's drawing, dB": mean(psnr(start, true)),
                "change by the search, dB": mean(psnr(found["pixels"], true) - psnr(start, true)),
                "change of SSIM": mean(similar[1] - similar[0]),
            }
        )
    digits = {name: 2 for name in rows[0] if name.endswith("dB")} | {"change of SSIM": 3}
    return Table(f"A search that starts from the network's drawing, {len(true)} images", rows, digits=digits)


def by_uses(attacks: Sequence[Attack], test: Sample) -> Plot:
    """How near the drawings come, over what is sent."""
    panels = {}
    for ear in EARS:
        curves = []
        for name, labels in (
            ("no merging", (UNMERGED, LOW_RATE)),
            ("merging", [attack.label for attack in attacks if attack.label.startswith("within")]),
        ):
            # Without standard errors: those of the pictures, which all share, say nothing of the differences.
            points = sorted(
                (attack.received.uses, float(psnr(attack.drawn, test.images.pixels).mean()))
                for attack in attacks
                if attack.ear == ear and attack.label in labels
            )
            uses, ratios = zip(*points, strict=True)
            curves.append(Curve(name, uses, ratios))
        panels[ear] = curves
    return Plot("uses", "channel uses, mean", "PSNR of the network's drawing, dB", panels, log_x=True, scatter=True)


def by_epoch(attacks: Sequence[Attack]) -> Plot:
    """How far the training came."""
    panels = {
        ear: [
            Curve(attack.label, list(range(1, len(attack.curve) + 1)), attack.curve)
            for attack in attacks
            if attack.ear == ear
        ]
        for ear in EARS
    }
    return Plot("training", "epoch", "PSNR on watched images, dB", panels)
