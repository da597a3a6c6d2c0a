"""The main job: photographs under several budgets, and questions about a drawn picture, through the three processes."""

import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from deploy.ports import Ports
from deploy.testbed import LocalTestbed
from thinwire.bundle import Bundle
from thinwire.client import Client
from thinwire.errors import InvalidImageError, InvalidRequestError, PayloadTooLargeError
from thinwire.images import MAX_BYTES, decode, to_png

SHARES = (0.05, 0.10, 0.20, 0.50)
SEED = 7
# Of the reference's channel uses, for the picture that is asked about.
ASKED_SHARE = 0.10
# A picture of one shape, by its place in the series of `SEED`.
DRAWING = 6
QUESTIONS = ("what is in the image?", "what color is the triangle?", "is there a circle?", "how many shapes are there?")


def photographs(folder: Path | None) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each image: those of a folder, or the cat that scikit-image carries.

    What else is in the folder, or cannot be read, is told on standard error and left out.

    Raises:
        InvalidRequestError: the folder holds no images.
    """
    if folder is None:
        import skimage

        path = Path(skimage.__file__).parent / "data" / "chelsea.png"
        yield path.name, path.read_bytes()
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


def run_demo(bundles: Sequence[Bundle], images: Sequence[tuple[str, bytes]], snr_db: float) -> list[dict[str, Any]]:
    """Run the job of each bundle's task.

    Each image is classified unmerged and under budgets of `SHARES` of the reference's channel uses. A drawn picture is
    asked about unmerged and under `ASKED_SHARE` of them: the first question goes with it, the others to the cloud.

    Returns:
        rows with the ``bundle``, its ``task`` and the ``answer`` of REST; the ``image`` and its ``budget`` in channel
        uses (None for no merging); and the ``question`` where there is one.

    Raises:
        InvalidRequestError: a bundle has no unmerged reference.
    """
    for bundle in bundles:
        if bundle.reference is None:
            raise InvalidRequestError(f"bundle {bundle.name} has no unmerged reference")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="thinwire-") as logs:
        arguments = ("--snr", str(snr_db), "--seed", str(SEED))
        folders = [str(bundle.folder) for bundle in bundles]
        with (
            LocalTestbed(folders, Ports.free(), arguments, Path(logs)) as testbed,
            Client(testbed.edge_url, testbed.cloud_url) as client,
        ):
            for bundle in bundles:
                found = _questions(client, bundle) if bundle.task == "vqa" else _labels(client, bundle, images)
                rows += [{"bundle": bundle.name, **row} for row in found]
    return rows


def _labels(client: Client, bundle: Bundle, images: Sequence[tuple[str, bytes]]) -> Iterator[dict[str, Any]]:
    # The first request pays for lazy initialisation, which would stand in the times of one row.
    client.classify(images[0][1], model=bundle.name)
    for name, image in images:
        for budget in _budgets(bundle, reversed(SHARES)):
            answer = client.classify(image, model=bundle.name, top_k=2, policy=_policy(budget), budget=budget)
            yield {"task": "classify", "image": name, "budget": budget, "answer": answer.model_dump()}


def _questions(client: Client, bundle: Bundle) -> Iterator[dict[str, Any]]:
    image, (first, *others) = drawing(), QUESTIONS
    client.ask(image, first, model=bundle.name)
    for budget in _budgets(bundle, (ASKED_SHARE,)):
        answer = client.ask(image, first, model=bundle.name, policy=_policy(budget), budget=budget)
        asked = {"task": "vqa", "image": "drawn", "budget": budget}
        yield {**asked, "question": first, "answer": answer.model_dump()}
        for question in others:
            yield {**asked, "question": question, "answer": client.ask(answer, question).model_dump()}


def _budgets(bundle: Bundle, shares: Iterable[float]) -> list[int | None]:
    assert bundle.reference is not None
    return [None, *(int(bundle.reference.channel_uses * share) for share in shares)]


def _policy(budget: int | None) -> str:
    return "none" if budget is None else "auto"


def as_text(row: dict[str, Any]) -> dict[str, str]:
    """One row of the demo's table for its task."""
    answer = row["answer"]
    best, times, link = answer["outputs"][0], answer["timings_ms"], answer["link"]
    said = f"{best['label'] if 'label' in best else best['answer']} {best['score']:.2f}"
    asked = {"question": row["question"]} if "question" in row else {}
    shown = {
        "image": row["image"],
        "budget": "none" if row["budget"] is None else f"{row['budget']} uses",
        **asked,
        "answer": said,
        "policy": "-" if link is None else answer["policy"]["id"] + (" (capped)" if answer["policy"]["capped"] else ""),
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
