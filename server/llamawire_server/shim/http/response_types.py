"""What the answers of every API are described with, failures among them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Json = dict[str, Any]


class ResponseModel(BaseModel):
    """Has exactly the fields that it declares."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class ErrorDetail(ResponseModel):
    """What went wrong."""

    message: str
    """For people. Never decide on it."""
    type: str
    param: str | None
    """The field at fault, such as `messages[2].role`."""
    code: str | None


class Error(ResponseModel):
    """The body of every answer that is not a success, and the last event of a stream that failed."""

    error: ErrorDetail


class Health(ResponseModel):
    """How the server is."""

    status: Literal["ok", "ready"]
