"""OpenAI's models, as the OpenAPI description shows them."""

from __future__ import annotations

from typing import Literal

from llamawire_server.shim.http.response_types import ResponseModel


class Model(ResponseModel):
    """A model that a request can name."""

    id: str
    object: Literal["model"]
    created: int
    """When its file was last changed, in Unix seconds; 0 where that is not known."""
    owned_by: Literal["llamawire"]


class ModelList(ResponseModel):
    """Every model that a request can name."""

    object: Literal["list"]
    data: list[Model]
