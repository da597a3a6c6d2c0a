"""What a request that asks for it learns of how its image or clip was sent."""

from typing import Annotated

from pydantic import BaseModel, Field


class ExplainBody(BaseModel):
    """Which patches became which token, and the symbols on both sides of the channel.

    ``grid`` is height and width in patches, and ``area`` the part of the upright image that they cover: left, top,
    right and bottom in pixels; of a window of a clip the grid is one row of positions, and the area null. ``groups``
    has for each patch, row by row, the rank of its token among the patch tokens that were sent; -1 if class tokens
    alone were sent. ``sizes`` has the patches in each of these tokens. Class tokens that are sent count in
    ``tokens_per_layer``, as in ``link.tokens``, and so do their symbols.

    ``sent`` and ``received`` are complex symbols as [real, imaginary], token by token, the first 16,384 at most;
    ``received`` is what arrived, before the cloud equalises it, and null where the cloud does not tell. ``snr_db`` is
    that of ``link``.
    """

    grid: tuple[int, int]
    area: tuple[float, float, float, float] | None
    groups: list[int]
    sizes: list[int]
    tokens_per_layer: list[int]
    sent: list[tuple[float, float]]
    received: list[tuple[float, float]] | None
    snr_db: float | None


def _is_left_out(explain: ExplainBody | None) -> bool:
    return explain is None


# In answers to those who asked alone.
Explain = Annotated[ExplainBody | None, Field(exclude_if=_is_left_out)]
