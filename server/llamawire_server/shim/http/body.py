"""A request's body: bytes to JSON to a validated type of request, with errors that say where."""

from __future__ import annotations

import re
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails, from_json
from starlette.requests import ClientDisconnect, Request

from llamawire_server.errors import Condition, FieldViolation, ServiceError, invalid
from llamawire_server.shim.http.disconnect import CallerGoneError
from llamawire_server.shim.http.request_types import TAG_MARK, TYPE_DISCRIMINATOR, RequestModel

RequestT = TypeVar("RequestT", bound=RequestModel)

# A body can have as many errors as it has fields; a caller is told of this many.
_MAX_VIOLATIONS = 32

_JSON_TERMS = [
    (re.compile(r"^Input should be"), "must be"),
    (re.compile(r"a valid dictionary( or instance of \w+)?"), "an object"),
    (re.compile(r"a valid list"), "an array"),
]

_UTF8_NAMES = ("utf-8", "utf8")


async def read(request: Request, max_bytes: int) -> bytes:
    """The whole body.

    Raises ServiceError: TOO_LARGE where it has more than `max_bytes`, INVALID where it is not declared to
    be JSON. Raises CallerGoneError where the caller hangs up before all of it has come.
    """
    _check_content_type(request.headers.get("content-type", ""))
    return await _read(request, max_bytes)


def parse(body: bytes) -> dict[str, Any]:
    """The body as a JSON object. Raises ServiceError (INVALID) where it is none."""
    try:
        # Pydantic's parser keeps big integers exact, and bounds nesting instead of overflowing the stack.
        value = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise _bad_body(f"the body is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise _bad_body("the body must be a JSON object")
    return value


def validate(body: dict[str, Any], model: type[RequestT], allow_unknown_fields: bool) -> RequestT:
    """The body as a request of this type.

    Raises ServiceError (INVALID), with a violation for each bad field, where it is none; of a list of the type
    `List`, for its first bad entry.
    """
    try:
        return model.model_validate(body, extra="ignore" if allow_unknown_fields else "forbid")
    except ValidationError as error:
        details = error.errors(include_url=False)
        violations = [_violation(detail) for detail in details[:_MAX_VIOLATIONS]]
        raise invalid(violations) from None


def _check_content_type(value: str) -> None:
    media_type, _, parameters = value.partition(";")
    if media_type.strip().lower() != "application/json":
        raise _bad_body("the content type must be application/json")
    for parameter in parameters.split(";"):
        name, _, charset = parameter.partition("=")
        if name.strip().lower() == "charset" and charset.strip(' "').lower() not in _UTF8_NAMES:
            raise _bad_body("the body must be encoded in UTF-8")


async def _read(request: Request, max_bytes: int) -> bytes:
    too_large = ServiceError(
        Condition.TOO_LARGE, "MESSAGE_TOO_LARGE", f"the body may have at most {max_bytes} bytes"
    )
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise too_large
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > max_bytes:
                raise too_large
    except ClientDisconnect:
        raise CallerGoneError from None
    return bytes(body)


def _bad_body(message: str) -> ServiceError:
    return ServiceError(Condition.INVALID, "INVALID_BODY", message)


def _violation(error: ErrorDetails) -> FieldViolation:
    path = _path(error["loc"])
    kind = error["type"]
    if kind == "extra_forbidden":
        return FieldViolation(path, "unknown field")
    if kind == "missing":
        return FieldViolation(path, "is required")
    if kind not in ("union_tag_invalid", "union_tag_not_found"):
        return FieldViolation(path, _in_json_terms(error["msg"]))
    if not isinstance(error["input"], dict) or TYPE_DISCRIMINATOR not in error["ctx"]["discriminator"]:
        return FieldViolation(path, "has the wrong type")
    if kind == "union_tag_not_found":
        return FieldViolation(f"{path}.type", "is required")
    expected = error["ctx"]["expected_tags"].replace(TAG_MARK, "")
    return FieldViolation(f"{path}.type", f"must be one of {expected}")


def _in_json_terms(message: str) -> str:
    for pydantic_term, json_term in _JSON_TERMS:
        message = pydantic_term.sub(json_term, message)
    return message


def _path(place: tuple[int | str, ...]) -> str:
    path = ""
    for step in place:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step != "[key]" and not step.startswith(TAG_MARK):
            path += f".{step}" if path else step
    return path
