"""The error table as statuses: every condition there and back, and never more than can be sent."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from llamawire_server.errors import (
    DOMAIN,
    MAX_MESSAGE_BYTES,
    MAX_VIOLATIONS,
    Condition,
    FieldViolation,
    ServiceError,
    engine_fault,
    from_status,
    invalid,
    invalid_field,
    model_not_found,
    to_status,
    unsupported,
)

# The table of the contract, once more and by hand.
TABLE = {
    Condition.INVALID: ("INVALID_ARGUMENT", 400, "BadRequest"),
    Condition.UNKNOWN_MODEL: ("NOT_FOUND", 404, "ResourceInfo"),
    Condition.UNSUPPORTED: ("FAILED_PRECONDITION", 400, "PreconditionFailure"),
    Condition.UNAUTHENTICATED: ("UNAUTHENTICATED", 401, None),
    Condition.FORBIDDEN: ("PERMISSION_DENIED", 403, None),
    Condition.BUSY: ("RESOURCE_EXHAUSTED", 429, "RetryInfo"),
    Condition.TOO_LARGE: ("RESOURCE_EXHAUSTED", 413, None),
    Condition.NOT_READY: ("UNAVAILABLE", 503, "RetryInfo"),
    Condition.DEADLINE: ("DEADLINE_EXCEEDED", 504, None),
    Condition.CANCELLED: ("CANCELLED", 499, None),
    Condition.ENGINE: ("INTERNAL", 500, "RequestInfo"),
}
REASONS = {Condition.TOO_LARGE: "MESSAGE_TOO_LARGE"}
VIOLATIONS = (FieldViolation("messages[0].role", "is required"), FieldViolation("n", "is 0"))


def error_of(condition: Condition, **fields: object) -> ServiceError:
    reason = REASONS.get(condition, "SOME_REASON")
    return ServiceError(condition, reason, "what went wrong", **fields)  # type: ignore[arg-type]


def details_of(status: status_pb2.Status) -> dict[str, Message]:
    found: dict[str, Message] = {}
    for packed in status.details:
        name = packed.TypeName().removeprefix("google.rpc.")
        found[name] = getattr(error_details_pb2, name)()
        assert packed.Unpack(found[name])
    return found


@pytest.mark.parametrize("condition", Condition)
def test_every_condition_has_its_row(condition: Condition) -> None:
    code, http_status, detail = TABLE[condition]
    status = to_status(error_of(condition, violations=VIOLATIONS, resource="model/m"), "req_1")
    assert status.code == code_pb2.Code.Value(code)
    assert condition.value.grpc_code is grpc.StatusCode[code]
    assert condition.value.http_status == http_status
    details = details_of(status)
    info = details.pop("ErrorInfo")
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == (REASONS.get(condition, "SOME_REASON"), DOMAIN)
    assert set(details) == ({detail} if detail else set())


@pytest.mark.parametrize("condition", Condition)
def test_every_condition_comes_back_as_it_went(condition: Condition) -> None:
    has_violations = condition in (Condition.INVALID, Condition.UNSUPPORTED)
    sent = error_of(
        condition,
        violations=VIOLATIONS if has_violations else (),
        resource="model/m" if condition is Condition.UNKNOWN_MODEL else "",
        metadata={"key": "value"},
    )
    found = from_status(to_status(sent, "req_1"))
    assert (found.condition, found.reason, str(found)) == (condition, sent.reason, str(sent))
    assert found.violations == sent.violations
    assert (found.resource, found.metadata) == (sent.resource, sent.metadata)
    assert found.retry_after_seconds == sent.retry_after_seconds


def test_a_wait_of_its_own_comes_back() -> None:
    for seconds in (0.25, 0.0, 86_400.0):
        found = from_status(to_status(error_of(Condition.BUSY, retry_seconds=seconds), ""))
        assert found.retry_after_seconds == seconds
    assert from_status(to_status(error_of(Condition.NOT_READY), "")).retry_after_seconds == 10


def test_an_engine_fault_names_the_request() -> None:
    info = details_of(to_status(engine_fault("oh"), "req_7"))["RequestInfo"]
    assert isinstance(info, error_details_pb2.RequestInfo)
    assert info.request_id == "req_7"


@pytest.mark.parametrize(
    ("status", "condition", "reason"),
    [
        (status_pb2.Status(code=code_pb2.UNIMPLEMENTED, message="x"), Condition.ENGINE, "UNIMPLEMENTED"),
        (status_pb2.Status(code=code_pb2.RESOURCE_EXHAUSTED), Condition.TOO_LARGE, "RESOURCE_EXHAUSTED"),
        (status_pb2.Status(code=code_pb2.UNAVAILABLE), Condition.NOT_READY, "UNAVAILABLE"),
        (status_pb2.Status(code=777), Condition.ENGINE, "UNKNOWN"),
    ],
)
def test_a_status_of_another_program_becomes_the_nearest_error(
    status: status_pb2.Status, condition: Condition, reason: str
) -> None:
    found = from_status(status)
    assert (found.condition, found.reason, str(found)) == (condition, reason, status.message)


def test_details_that_can_not_be_read_are_passed_over() -> None:
    status = to_status(invalid(VIOLATIONS), "")
    broken = any_pb2.Any(type_url="type.googleapis.com/google.rpc.RetryInfo", value=b"\xff\xff")
    unknown = any_pb2.Any(type_url="type.googleapis.com/nobody.Knows", value=b"x")
    status.details.insert(0, broken)
    status.details.insert(0, unknown)
    found = from_status(status)
    assert (found.reason, found.violations) == ("INVALID_FIELD", VIOLATIONS)


def violations_in(status: status_pb2.Status) -> list[tuple[str, str]]:
    bad_request = details_of(status)["BadRequest"]
    assert isinstance(bad_request, error_details_pb2.BadRequest)
    return [(found.field, found.description) for found in bad_request.field_violations]


def test_of_many_bad_fields_the_first_are_named_and_the_others_counted() -> None:
    violations = [FieldViolation(f"stop[{number}]", "is empty") for number in range(500)]
    status = to_status(invalid(violations), "")
    *named, rest = violations_in(status)
    assert named == [(violation.field, violation.description) for violation in violations[:MAX_VIOLATIONS]]
    assert rest == ("", f"and {500 - MAX_VIOLATIONS} more are wrong")
    assert status.message.startswith("stop[0]: is empty; stop[1]: is empty; ")
    assert status.message.endswith("…")
    assert violations_in(to_status(invalid(violations[:MAX_VIOLATIONS]), "")) == named


def test_violations_of_great_length_are_shortened_before_they_are_left_out() -> None:
    status = to_status(invalid([FieldViolation("é" * 1000, "é" * 100_000)] * 3), "")
    *named, rest = violations_in(status)
    assert len(named) == 2
    for field, description in named:
        assert field.startswith("éé")
        assert description.endswith("é…")
    assert rest == ("", "and 1 more are wrong")


TEXTS = st.text(st.characters(codec="utf-8") | st.sampled_from("🙂é\n%"), max_size=40)
LONG_TEXTS = st.builds(lambda text, times: text * times, TEXTS, st.sampled_from([1, 30, 3000]))
ERRORS = st.one_of(
    st.builds(invalid_field, LONG_TEXTS, LONG_TEXTS),
    st.builds(invalid, st.lists(st.builds(FieldViolation, LONG_TEXTS, LONG_TEXTS), max_size=80)),
    st.builds(unsupported, st.lists(st.builds(FieldViolation, LONG_TEXTS, LONG_TEXTS), max_size=80)),
    st.builds(model_not_found, LONG_TEXTS, LONG_TEXTS),
    st.builds(engine_fault, LONG_TEXTS),
)


@given(ERRORS)
def test_a_status_is_never_larger_than_what_clients_take(error: ServiceError) -> None:
    status = to_status(error, "r" * 128)
    assert len(status.message.encode()) <= MAX_MESSAGE_BYTES
    # The most that gRPC makes of it: percent signs and base64, 32 bytes for each header, 64 for the others.
    message_bytes = sum(1 if 0x20 <= byte < 0x7F and byte != 0x25 else 3 for byte in status.message.encode())
    details_bytes = len(status.SerializeToString()) * 4 // 3 + 4
    names = ("grpc-status", "grpc-message", "grpc-status-details-bin")
    assert sum(map(len, names)) + 32 * len(names) + 2 + message_bytes + details_bytes + 64 <= 8192


def test_the_name_of_a_file_that_is_no_text_can_be_told() -> None:
    status = to_status(engine_fault("can't read /models/\udcff.gguf"), "")
    assert status.message == "can't read /models/?.gguf"
