"""The bundles that a process serves: which answers a request; and ``/v1/models``, in OpenAI's form and in ours."""

import time
from collections.abc import Sequence
from typing import Literal, Protocol, TypeVar

from fastapi import FastAPI
from pydantic import BaseModel

from thinwire.bundle import Bundle
from thinwire.errors import UnknownModelError, UnknownTaskError
from thinwire.rest import problems
from thinwire.rest.schemas import ModelBody, ModelsBody


class Serving(Protocol):
    """What answers with one bundle."""

    bundle: Bundle


S = TypeVar("S", bound=Serving)


def of_task(served: Sequence[S], task: str) -> list[S]:
    """Those that answer a task, in the order in which they are served.

    Raises:
        UnknownTaskError: none does.
    """
    if found := [one for one in served if one.bundle.task == task]:
        return found
    held = ", ".join(f"{one.bundle.name} (task {one.bundle.task!r})" for one in served)
    raise UnknownTaskError(f"no bundle here is for the task {task!r}; there is {held}")


def named(served: Sequence[S], model: str) -> S:
    """The one that a request's ``model`` names; the first where it names none.

    Args:
        served: those of the request's task.

    Raises:
        UnknownModelError: no bundle of this name is among them.
    """
    for one in served:
        if model in ("", one.bundle.name):
            return one
    raise unknown_model(model, [one.bundle for one in served], f" for the task {served[0].bundle.task!r}")


def unknown_model(model: str, bundles: Sequence[Bundle], purpose: str = "") -> UnknownModelError:
    """The error of a name that no bundle has."""
    known = ", ".join(bundle.name for bundle in bundles)
    return UnknownModelError(f"no model {model[:80]!r}{purpose} here; there is {known}")


class ListedModel(BaseModel):
    """A bundle as OpenAI's API names a model; ``created`` is when the process began to serve it, in s since 1970."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["thinwire"] = "thinwire"


class OneModel(ListedModel, ModelBody):
    """A bundle in both forms."""


class ModelsResponse(ModelsBody):
    """All bundles that this process serves: ``data`` in OpenAI's form, ``models`` in ours."""

    object: Literal["list"] = "list"
    data: list[ListedModel]


def add_to(app: FastAPI, bundles: Sequence[Bundle]) -> None:
    """Add the routes."""
    created = int(time.time())
    described = [_described(bundle) for bundle in bundles]
    listed = [ListedModel(id=bundle.name, created=created) for bundle in bundles]

    @app.get("/v1/models", responses=problems.OPENAI_RESPONSES)
    async def models() -> ModelsResponse:
        """The bundles that this process serves."""
        return ModelsResponse(data=listed, models=described)

    # Clients ask for the names that they know from elsewhere, slashes and all.
    @app.get("/v1/models/{model:path}", responses=problems.OPENAI_RESPONSES)
    async def one_model(model: str) -> OneModel:
        """One of the bundles that this process serves."""
        for in_short, whole in zip(listed, described, strict=True):
            if whole.name == model:
                return OneModel(**in_short.model_dump(), **whole.model_dump())
        raise unknown_model(model, bundles)


def _described(bundle: Bundle) -> ModelBody:
    return ModelBody(
        name=bundle.name,
        digest=bundle.digest,
        task=bundle.task,
        labels=list(bundle.labels),
        input_size=None if bundle.task == "transcription" else bundle.preprocessing.size,
        split_layer=bundle.split_layer,
        depth=bundle.depth,
        patches=bundle.patches,
        rates=list(bundle.codec.rates),
    )
