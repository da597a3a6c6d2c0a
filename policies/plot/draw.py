"""Drawings as files. What draws is loaded here, when it is asked for: it comes with the extra "search"."""

from collections.abc import Sequence
from pathlib import Path

from policies.files import write_whole
from policies.plot.data import STUDY_COLOURS, StudyData, series
from policies.search.objectives import Objective
from thinwire.errors import InvalidRequestError, UnavailableError


def check_suffix(path: Path, *suffixes: str) -> None:
    """Tell a name that says no format we draw, before anything is read or computed.

    Raises:
        InvalidRequestError: the path ends otherwise.
    """
    if path.suffix not in suffixes:
        raise InvalidRequestError(f"a drawing is written to a file that ends in {' or '.join(suffixes)}, got {path}")


def draw_fronts(studies: Sequence[StudyData], axes: Sequence[Objective], path: Path) -> None:
    """Draw the trials, the fronts and the baselines of studies; the same content gives the same bytes.

    Args:
        studies: one to four, of different names.
        axes: two or three, as `policies.plot.data.choose_axes` gives them.
        path: a ``.png``, or a ``.html`` that needs no network; written whole or not at all.

    Raises:
        InvalidRequestError: a study stands twice, has no trials or was not measured for an axis, there are too many,
            the path ends otherwise, or it cannot be written.
        UnavailableError: the library that draws is not installed.
    """
    check_suffix(path, ".png", ".html")
    names = [data.study.name for data in studies]
    if len(set(names)) < len(names) or not 1 <= len(names) <= len(STUDY_COLOURS):
        raise InvalidRequestError(
            f"expected one to {len(STUDY_COLOURS)} different studies to draw, got {', '.join(names) or 'none'}"
        )
    drawn = [series(data, axes) for data in studies]
    try:
        if path.suffix == ".html":
            from policies.plot.page import front_page

            content = front_page(drawn, axes).encode()
        else:
            from policies.plot.canvas import png_bytes
            from policies.plot.png import front_figure

            content = png_bytes(front_figure(drawn, axes))
    except ImportError as error:
        raise UnavailableError(f"drawings need the extra 'search': pip install -e '.[search]' ({error})") from None
    try:
        write_whole(path, content)
    except OSError as error:
        raise InvalidRequestError(f"cannot write the drawing {path}: {error.strerror}") from None
