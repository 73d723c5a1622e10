"""The attempts of one call: how long they may take together, and whether a failed one is followed by another."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict, cast

import grpc

from llamawire.errors import ConnectionFailedError, LlamawireError, from_rpc_error
from llamawire.metadata import Metadata, Pairs, Received, find_request_id, to_pairs, with_request_id

# The wait before the first retry where the server names none; it doubles with each further one.
INITIAL_BACKOFF_SECONDS = 0.2
MAX_BACKOFF_SECONDS = 5.0
# A server that asks for a longer wait than this is not waited for: the caller should know at once.
MAX_WAIT_SECONDS = 60.0

# The reason of a call that did not want to wait for its model.
MODEL_LOADING = "MODEL_LOADING"


class CallOptions(TypedDict, total=False):
    """What every method takes beside its own arguments."""

    timeout_seconds: float | None
    """For the whole call, retries and the waits between them included; math.inf for none."""
    call_metadata: Metadata | None
    """Sent with the call, after the client's own."""
    request_id: str | None
    """Names the call in the server's log; a new one is made where it is absent."""


@dataclass(frozen=True)
class CallDefaults:
    """What a client gives to each of its calls."""

    timeout_seconds: float | None = None
    """For calls that name none; None: no timeout."""

    metadata: Pairs = ()
    """Sent with every call."""

    retries: int = 2
    """How many times a call is tried again."""

    def begin(
        self,
        timeout_seconds: float | None = None,
        call_metadata: Metadata | None = None,
        request_id: str | None = None,
        *,
        waits_for_model: bool = True,
    ) -> Attempts:
        """The attempts of a new call; its time runs from now. See `Attempts`."""
        metadata, request_id = with_request_id((*self.metadata, *to_pairs(call_metadata)), request_id)
        return Attempts(
            timeout_seconds=self.timeout_seconds if timeout_seconds is None else timeout_seconds,
            retries=self.retries,
            metadata=metadata,
            request_id=request_id,
            waits_for_model=waits_for_model,
        )


class Attempts:
    """The attempts of one call.

    Each attempt is sent with `metadata` and the `remaining_seconds` as its timeout. One that failed goes to
    `wait_after`, which says how long to wait before the next, or raises.
    """

    def __init__(
        self,
        *,
        timeout_seconds: float | None,
        retries: int,
        metadata: Pairs,
        request_id: str,
        waits_for_model: bool = True,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """waits_for_model: whether a call that finds its model not loaded yet is tried again, as others are."""
        self.metadata = metadata
        self.request_id = request_id
        self._clock = clock
        self._jitter = jitter
        self._retries_left = retries
        self._waits_for_model = waits_for_model
        self._backoff_seconds = INITIAL_BACKOFF_SECONDS
        is_bounded = timeout_seconds is not None and not math.isinf(timeout_seconds)
        self._deadline = clock() + timeout_seconds if timeout_seconds is not None and is_bounded else None

    @property
    def remaining_seconds(self) -> float | None:
        """What is left of the call's time; None: there is no limit."""
        return None if self._deadline is None else max(self._deadline - self._clock(), 0.0)

    def note_metadata(self, initial_metadata: Received) -> None:
        """Take over the request id that the server answers under, if it names one."""
        self.request_id = find_request_id(initial_metadata) or self.request_id

    def wait_after(self, rpc_error: grpc.RpcError, *, may_retry: bool = True) -> float:
        """How many seconds to wait before the next attempt.

        Raises the LlamawireError that `rpc_error` stands for where there is to be none: it would fail again,
        the server had begun to work or part of the answer is out already (`may_retry`), the retries are used
        up, or the wait would outlast the deadline.
        """
        error = from_rpc_error(rpc_error, self.request_id)
        if isinstance(error, ConnectionFailedError) and cast("grpc.Call", rpc_error).initial_metadata():
            # The server sends its metadata as it begins to work, and only its own errors say that none was done.
            may_retry = False
        if error.reason == MODEL_LOADING and not self._waits_for_model:
            may_retry = False
        if not (may_retry and error.retryable and self._retries_left > 0):
            raise error from rpc_error
        wait_seconds = self._next_wait(error)
        remaining = self.remaining_seconds
        if wait_seconds > MAX_WAIT_SECONDS or (remaining is not None and wait_seconds >= remaining):
            raise error from rpc_error
        self._retries_left -= 1
        return wait_seconds

    def _next_wait(self, error: LlamawireError) -> float:
        if error.retry_after_seconds is not None:
            return error.retry_after_seconds
        # Half of the wait is left to chance, so that callers who failed together don't come back together.
        wait_seconds = self._backoff_seconds * (0.5 + 0.5 * self._jitter())
        self._backoff_seconds = min(2 * self._backoff_seconds, MAX_BACKOFF_SECONDS)
        return wait_seconds
