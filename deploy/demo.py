"""The main job: photographs under several budgets, questions about a drawn picture, and speech, through the link."""

import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from deploy.ports import Ports
from deploy.testbed import LocalTestbed
from deploy.token_map import token_map
from thinwire.bundle import Bundle
from thinwire.client import Client
from thinwire.errors import InvalidImageError, InvalidRequestError, PayloadTooLargeError
from thinwire.images import MAX_BYTES, decode, to_png

SHARES = (0.05, 0.10, 0.20, 0.50)
SEED = 7
# Of the reference's channel uses, for the photograph whose tokens are drawn.
DRAWN_SHARE = 0.20
# Photographs that scikit-image's package carries and does not fetch; a cat first.
PHOTOGRAPHS = ("chelsea.png", "astronaut.png", "coffee.png", "rocket.jpg")
# Of the reference's channel uses, for the picture that is asked about.
ASKED_SHARE = 0.10
# A picture of one shape, by its place in the series of `SEED`.
DRAWING = 6
QUESTIONS = ("what is in the image?", "what color is the triangle?", "is there a circle?", "how many shapes are there?")


def photographs(folder: Path | None) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each image: those of a folder, or `PHOTOGRAPHS`.

    What else is in the folder, or cannot be read, is told on standard error and left out.

    Raises:
        InvalidRequestError: the folder holds no images.
    """
    if folder is None:
        import skimage

        for name in PHOTOGRAPHS:
            yield name, (Path(skimage.__file__).parent / "data" / name).read_bytes()
        return
    found = False
    for path in sorted(path for path in folder.glob("*") if path.is_file()):
        try:
            with path.open("rb") as file:
                # What is larger is none that the edge takes.
                decode(image := file.read(MAX_BYTES + 1))
        except (OSError, InvalidImageError, PayloadTooLargeError) as error:
            print(f"thinwire: left out {path}: {error}", file=sys.stderr)
            continue
        found = True
        yield path.name, image
    if not found:
        raise InvalidRequestError(f"no images in {folder}")


def drawing() -> bytes:
    """A picture of a shape, as a PNG."""
    from offline.data.drawings import draw

    return to_png(draw(SEED, DRAWING, plain=True).pixels)


class TokenMap(NamedTuple):
    """The tokens of one photograph, drawn over it.

    Attributes:
        text: which photograph, and how it was sent.
        png: the picture.
    """

    text: str
    png: bytes


def run_demo(
    bundles: Sequence[Bundle], images: Sequence[tuple[str, bytes]] | None, snr_db: float, sound: Path | None = None
) -> tuple[list[dict[str, Any]], TokenMap | None]:
    """Run the job of each bundle's task.

    Each image is classified by the plain model in the cloud, and over the link unmerged and under budgets of `SHARES`
    of the reference's channel uses. The tokens of the first are drawn, by the bundle that has most patches. Of a
    picture of shapes questions are asked, unmerged and under `ASKED_SHARE`: the first goes with it, the others to the
    cloud. A sound is written down by the plain model, unmerged and under budgets.

    Args:
        bundles: all are served together.
        images: name and bytes; None takes those of `PHOTOGRAPHS` that a bundle may know: of one with a label for cats
            the cat alone, of any other all.
        snr_db: of the AWGN channel.
        sound: a file, for the bundles that write down speech.

    Returns:
        rows with the ``bundle``, its ``task`` and the ``answer`` of REST; the ``image`` or ``sound`` and its ``budget``
        in channel uses (None for no merging); the ``question`` where there is one, else the ``plain`` model's answer.
        And the drawn tokens, if any bundle classifies.

    Raises:
        InvalidRequestError: a bundle has no unmerged reference, or writes down speech, and there is no sound.
    """
    for bundle in bundles:
        if bundle.reference is None:
            raise InvalidRequestError(f"bundle {bundle.name} has no unmerged reference")
        if bundle.task == "transcription" and sound is None:
            raise InvalidRequestError(f"bundle {bundle.name} writes down speech: --sound names a file")
    rows: list[dict[str, Any]] = []
    drawn = None
    classifiers = [bundle for bundle in bundles if bundle.task == "classify"]
    with tempfile.TemporaryDirectory(prefix="thinwire-") as logs:
        arguments = ("--snr", str(snr_db), "--seed", str(SEED))
        folders = [str(bundle.folder) for bundle in bundles]
        with (
            LocalTestbed(folders, Ports.free(), arguments, Path(logs)) as testbed,
            Client(testbed.edge_url, testbed.cloud_url) as client,
            Client(testbed.cloud_url) as plain,
        ):
            for bundle in bundles:
                if bundle.task == "vqa":
                    found = _questions(client, bundle)
                elif sound is not None and bundle.task == "transcription":
                    found = _transcripts(client, plain, bundle, sound)
                else:
                    found = _labels(client, plain, bundle, images_for(bundle, images))
                rows += [{"bundle": bundle.name, **row} for row in found]
            if classifiers:
                finest = max(classifiers, key=lambda bundle: bundle.patches)
                drawn = _drawn(client, finest, *images_for(finest, images)[0])
    return rows, drawn


def images_for(bundle: Bundle, images: Sequence[tuple[str, bytes]] | None) -> Sequence[tuple[str, bytes]]:
    """What a bundle classifies: the images that were given, or those of `PHOTOGRAPHS` that it may know."""
    if images is not None:
        return images
    carried = list(photographs(None))
    return carried[:1] if "cat" in bundle.labels else carried


def _labels(
    client: Client, plain: Client, bundle: Bundle, images: Sequence[tuple[str, bytes]]
) -> Iterator[dict[str, Any]]:
    # The first request pays for lazy initialisation, which would stand in the times of one row.
    client.classify(images[0][1], model=bundle.name)
    for name, image in images:
        without = plain.classify(image, model=bundle.name, top_k=2).model_dump()
        for budget in _budgets(bundle, reversed(SHARES)):
            answer = client.classify(image, model=bundle.name, top_k=2, policy=_policy(budget), budget=budget)
            row = {"task": "classify", "image": name, "budget": budget}
            yield {**row, "answer": answer.model_dump(), "plain": without}


def _drawn(client: Client, bundle: Bundle, name: str, image: bytes) -> TokenMap:
    _, budget = _budgets(bundle, (DRAWN_SHARE,))
    answer = client.classify(image, model=bundle.name, budget=budget, explain=True)
    assert answer.explain is not None
    assert answer.link is not None
    text = f"{name} by {bundle.name} under {budget} uses: {bundle.patches} patches in {answer.link.tokens} tokens"
    return TokenMap(text, token_map(image, answer.explain))


def _questions(client: Client, bundle: Bundle) -> Iterator[dict[str, Any]]:
    image, (first, *others) = drawing(), QUESTIONS
    client.ask(image, first, model=bundle.name)
    for budget in _budgets(bundle, (ASKED_SHARE,)):
        answer = client.ask(image, first, model=bundle.name, policy=_policy(budget), budget=budget)
        asked = {"task": "vqa", "image": "drawn", "budget": budget}
        yield {**asked, "question": first, "answer": answer.model_dump()}
        for question in others:
            yield {**asked, "question": question, "answer": client.ask(answer, question).model_dump()}


def _transcripts(client: Client, plain: Client, bundle: Bundle, sound: Path) -> Iterator[dict[str, Any]]:
    without = plain.transcribe(sound, model=bundle.name).model_dump()
    client.transcribe(sound, model=bundle.name, policy="none")
    for budget in _budgets(bundle, reversed(SHARES)):
        answer = client.transcribe(sound, model=bundle.name, policy=_policy(budget), budget=budget)
        row = {"task": "transcription", "sound": sound.name, "budget": budget}
        yield {**row, "answer": answer.model_dump(), "plain": without}


def _budgets(bundle: Bundle, shares: Iterable[float]) -> list[int | None]:
    assert bundle.reference is not None
    return [None, *(int(bundle.reference.channel_uses * share) for share in shares)]


def _policy(budget: int | None) -> str:
    return "none" if budget is None else "auto"


def as_text(row: dict[str, Any]) -> dict[str, str]:
    """One row of the demo's table for its task."""
    answer = row["answer"]
    times, link = answer["timings_ms"], answer["link"]
    asked = {"question": row["question"]} if "question" in row else {}
    # What is asked has no plain model to compare with.
    compared = {"plain model": _said(row["plain"])} if "plain" in row else {}
    policy = answer["policy"] or {"id": "several", "capped": False}
    shown = {
        **({"sound": row["sound"]} if "sound" in row else {"image": row["image"]}),
        "budget": "none" if row["budget"] is None else f"{row['budget']} uses",
        **asked,
        "answer": _said(answer),
        **compared,
        "policy": "-" if link is None else policy["id"] + (" (capped)" if policy["capped"] else ""),
    }
    # What is asked again crosses no link: there is nothing to count and nothing to compute but the answer.
    if link is None:
        return (
            shown
            | dict.fromkeys(("tokens", "uses", "edge GMACs", "edge ms", "channel ms"), "-")
            | {"cloud ms": f"{times['cloud']:.1f}"}
        )
    return shown | {
        "tokens": str(link["tokens"]),
        "uses": str(link["channel_uses"]),
        "edge GMACs": f"{answer['cost']['edge_gmacs']:.4f}",
        "edge ms": f"{times['edge']:.1f}",
        "channel ms": f"{times['channel']:.1f}",
        "cloud ms": f"{times['cloud']:.1f}",
    }


def _said(answer: dict[str, Any]) -> str:
    if "text" in answer:
        return repr(answer["text"])
    best = answer["outputs"][0]
    return f"{best['label'] if 'label' in best else best['answer']} {best['score']:.2f}"
