"""``/v1/models``: the bundles that a process serves, in OpenAI's form and, beside it, in ours."""

import time
from collections.abc import Sequence
from typing import Literal

from fastapi import FastAPI
from pydantic import BaseModel

from thinwire.bundle import Bundle
from thinwire.errors import UnknownModelError
from thinwire.rest import problems
from thinwire.rest.schemas import ModelBody


class ListedModel(BaseModel):
    """A bundle as OpenAI's API names a model; ``created`` is when the process began to serve it, in s since 1970."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["thinwire"] = "thinwire"


class OneModel(ListedModel, ModelBody):
    """A bundle in both forms."""


class ModelsResponse(BaseModel):
    """All bundles that this process serves: ``data`` in OpenAI's form, ``models`` in ours."""

    object: Literal["list"] = "list"
    data: list[ListedModel]
    models: list[ModelBody]


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
        known = ", ".join(whole.name for whole in described)
        raise UnknownModelError(f"no model {model[:80]!r} here; there is {known}")


def _described(bundle: Bundle) -> ModelBody:
    return ModelBody(
        name=bundle.name,
        digest=bundle.digest,
        task=bundle.task,
        labels=list(bundle.labels),
        input_size=bundle.preprocessing.size,
        split_layer=bundle.split_layer,
        depth=bundle.depth,
        patches=bundle.patches,
        rates=list(bundle.codec.rates),
    )
