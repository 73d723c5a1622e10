"""What a request's headers say of the call: its deadline, and the trace that it is part of."""

from __future__ import annotations

import math

from starlette.requests import Request

from llamawire_server.errors import invalid_field
from llamawire_server.service.interface import Call, trace_from

TIMEOUT_HEADER = "x-request-timeout-seconds"


def call_of(request: Request) -> Call:
    """The call that a request makes.

    Raises ServiceError (INVALID) where its timeout is no positive number.
    """
    return Call(request.state.request_id, _timeout_seconds(request), trace_from(request.headers.items()))


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
