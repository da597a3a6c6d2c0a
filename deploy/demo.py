"""The main job on real photographs: each through the three processes under several budgets."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from deploy.cli.classify import classify
from deploy.testbed import LocalTestbed, Ports
from thinwire.bundle import Bundle
from thinwire.errors import InvalidRequestError

SHARES = (0.05, 0.10, 0.20, 0.50)
SEED = 7


def photographs(folder: Path | None) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each image: those of a folder, or the cat that scikit-image carries.

    Raises:
        InvalidRequestError: the folder holds no files.
    """
    if folder is None:
        import skimage

        path = Path(skimage.__file__).parent / "data" / "chelsea.png"
        yield path.name, path.read_bytes()
        return
    paths = sorted(path for path in folder.glob("*") if path.is_file()) if folder.is_dir() else []
    if not paths:
        raise InvalidRequestError(f"no images in {folder}")
    for path in paths:
        yield path.name, path.read_bytes()


def run_demo(bundle: Bundle, images: Sequence[tuple[str, bytes]], snr_db: float) -> list[dict[str, Any]]:
    """Classify each image unmerged and under budgets of `SHARES` of the reference's channel uses.

    Returns:
        one row per image and budget: the image, the budget in channel uses (None for no merging), and the answer of
        ``POST /v1/classify``.
    """
    if bundle.reference is None:
        raise InvalidRequestError(f"bundle {bundle.name} has no unmerged reference")
    budgets = [None, *(int(bundle.reference.channel_uses * share) for share in reversed(SHARES))]
    rows = []
    with tempfile.TemporaryDirectory(prefix="thinwire-") as logs:
        arguments = ("--snr", str(snr_db), "--seed", str(SEED))
        with LocalTestbed([str(bundle.folder)], Ports.free(), arguments, Path(logs)) as testbed:
            # The first request pays for lazy initialisation, which would stand in the times of one row.
            classify(testbed.edge_url, images[0][1], {})
            for name, image in images:
                for budget in budgets:
                    parameters: dict[str, Any] = {"top_k": 2}
                    parameters |= {"policy": "none"} if budget is None else {"budget": {"channel_uses": budget}}
                    answer = classify(testbed.edge_url, image, parameters)
                    rows.append({"image": name, "budget": budget, "answer": answer})
    return rows


def as_text(row: dict[str, Any]) -> dict[str, str]:
    """One row of the demo's table."""
    answer = row["answer"]
    best, times, link = answer["outputs"][0], answer["timings_ms"], answer["link"]
    return {
        "image": row["image"],
        "budget": "none" if row["budget"] is None else f"{row['budget']} uses",
        "answer": f"{best['label']} {best['score']:.2f}",
        "policy": answer["policy"]["id"] + (" (capped)" if answer["policy"]["capped"] else ""),
        "tokens": str(link["tokens"]),
        "uses": str(link["channel_uses"]),
        "edge GMACs": f"{answer['cost']['edge_gmacs']:.4f}",
        "edge ms": f"{times['edge']:.1f}",
        "channel ms": f"{times['channel']:.1f}",
        "cloud ms": f"{times['cloud']:.1f}",
    }
