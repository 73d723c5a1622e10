"""What a request's headers say of the call: its id, its deadline, the trace that it is part of."""

from __future__ import annotations

import math
import re
import uuid

from starlette.requests import Request

from llamawire_server.errors import invalid_field
from llamawire_server.service.interface import Call

REQUEST_ID_HEADER = "x-request-id"
TIMEOUT_HEADER = "x-request-timeout-seconds"
_TRACE_HEADERS = ("traceparent", "tracestate")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._~:/+=@-]{1,128}")

# What gRPC lets a header hold, which is where these go when the call is forwarded.
_PRINTABLE = re.compile(r"[\x20-\x7e]*")


def request_id_from(value: str | None) -> str:
    """The caller's own id where it is fit for logs and headers, else a new one."""
    if value is not None and _REQUEST_ID.fullmatch(value):
        return value
    return f"req_{uuid.uuid4().hex}"


def call_of(request: Request) -> Call:
    """The call that a request makes.

    Raises ServiceError (INVALID) where its timeout is no positive number.
    """
    metadata = {}
    for name in _TRACE_HEADERS:
        value = ",".join(request.headers.getlist(name))
        if value and _PRINTABLE.fullmatch(value):
            metadata[name] = value
    return Call(request.state.request_id, _timeout_seconds(request), metadata)


def _timeout_seconds(request: Request) -> float | None:
    text = request.headers.get(TIMEOUT_HEADER)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise invalid_field(TIMEOUT_HEADER, "must be a positive number of seconds")
    return seconds
