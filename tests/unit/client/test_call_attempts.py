"""When a call is tried again, how long is waited, and what of its time is left."""

from __future__ import annotations

import math

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import status_pb2

from llamawire import DeadlineExceededError, RateLimitError, UnavailableError
from llamawire.attempts import Attempts, CallDefaults


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def failure(error_info, retry_info):
    """A failed call: its code, how long the server asks to wait, and its reason."""

    def build(code=grpc.StatusCode.UNAVAILABLE, retry_seconds=None, reason="SOME_REASON") -> grpc.RpcError:
        status = status_pb2.Status(code=code.value[0], message="no")
        for detail in (
            error_info(reason),
            *([retry_info(retry_seconds)] if retry_seconds is not None else []),
        ):
            packed = any_pb2.Any()
            packed.Pack(detail)
            status.details.append(packed)
        trailing = grpc.aio.Metadata(("grpc-status-details-bin", status.SerializeToString()))
        return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, details="no")

    return build


def attempts(
    retries=2, timeout_seconds=None, clock=None, jitter=lambda: 1.0, waits_for_model=True
) -> Attempts:
    return Attempts(
        timeout_seconds=timeout_seconds,
        retries=retries,
        metadata=(),
        request_id="id",
        waits_for_model=waits_for_model,
        clock=clock or Clock(),
        jitter=jitter,
    )


def test_the_server_s_wait_is_honoured(failure):
    assert attempts().wait_after(failure(retry_seconds=7.5)) == 7.5


def test_a_busy_server_is_tried_again_only_when_it_offers_that(failure):
    busy = grpc.StatusCode.RESOURCE_EXHAUSTED

    assert attempts().wait_after(failure(busy, retry_seconds=1)) == 1
    with pytest.raises(RateLimitError):
        attempts().wait_after(failure(busy))


@pytest.mark.parametrize(("jitter", "share"), [(0.0, 0.5), (1.0, 1.0)])
def test_waits_that_the_server_leaves_to_us_double(failure, jitter, share):
    trying = attempts(retries=7, jitter=lambda: jitter)

    waits = [trying.wait_after(failure()) for _ in range(7)]

    assert waits == pytest.approx([share * wait for wait in (0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0)])


def test_retries_are_used_up(failure):
    trying = attempts(retries=1)
    trying.wait_after(failure())

    with pytest.raises(UnavailableError):
        trying.wait_after(failure())


def test_who_does_not_wait_for_a_model_is_told_at_once_that_it_is_loading(failure):
    loading = failure(retry_seconds=0, reason="MODEL_LOADING")
    impatient = attempts(waits_for_model=False)

    with pytest.raises(UnavailableError):
        impatient.wait_after(loading)
    assert impatient.wait_after(failure(retry_seconds=0, reason="DRAINING")) == 0
    assert attempts().wait_after(loading) == 0


def test_other_failures_are_final(failure):
    with pytest.raises(DeadlineExceededError):
        attempts().wait_after(failure(grpc.StatusCode.DEADLINE_EXCEEDED))


def test_nothing_is_tried_again_once_part_of_the_answer_is_out(failure):
    with pytest.raises(UnavailableError):
        attempts().wait_after(failure(), may_retry=False)


def test_a_wait_that_outlasts_the_deadline_is_not_begun(failure):
    clock = Clock()
    trying = attempts(timeout_seconds=10, clock=clock)
    assert trying.wait_after(failure(retry_seconds=9)) == 9

    clock.now += 9
    with pytest.raises(UnavailableError):
        trying.wait_after(failure(retry_seconds=1))


def test_a_wait_beyond_reason_is_not_begun(failure):
    with pytest.raises(UnavailableError):
        attempts().wait_after(failure(retry_seconds=3600))


def test_the_timeout_covers_all_attempts():
    clock = Clock()
    trying = attempts(timeout_seconds=10, clock=clock)

    clock.now += 4
    assert trying.remaining_seconds == 6
    clock.now += 40
    assert trying.remaining_seconds == 0


def test_a_call_s_timeout_takes_the_place_of_the_client_s():
    defaults = CallDefaults(timeout_seconds=1000)

    assert defaults.begin().remaining_seconds == pytest.approx(1000, abs=100)
    assert defaults.begin(timeout_seconds=0).remaining_seconds == 0
    assert defaults.begin(timeout_seconds=math.inf).remaining_seconds is None
    assert CallDefaults().begin().remaining_seconds is None


def test_each_call_has_one_request_id():
    defaults = CallDefaults(metadata=(("team", "a"),))

    given = defaults.begin(request_id="mine", call_metadata={"X-Request-Id": "other", "Trace": "t"})
    assert given.metadata == (("team", "a"), ("trace", "t"), ("x-request-id", "mine"))

    carried = defaults.begin(call_metadata=[("X-Request-Id", "other")])
    assert carried.request_id == "other"
    assert carried.metadata == (("team", "a"), ("x-request-id", "other"))

    assert defaults.begin().request_id != defaults.begin().request_id
