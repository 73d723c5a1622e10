"""EmbeddingService on a pool: what is checked, how a worker is asked, and what its vectors become."""

from __future__ import annotations

import dataclasses
import struct
import time
from typing import Any

import msgspec
import pytest
from service_fakes import CALL

from llamawire.v1 import embedding_pb2, model_pb2
from llamawire_server.config import ModelSettings
from llamawire_server.errors import Condition, ServiceError
from llamawire_server.models.resolver import ModelEntry
from llamawire_server.service.catalogue import describe
from llamawire_server.service.embedding import EmbeddingAnswer, build_embed, check_embeddings
from llamawire_server.service.interface import Call
from llamawire_server.service.local import LocalService
from llamawire_server.worker.embedding_messages import Vectors

FIRST, SECOND = (struct.pack("<2f", *numbers) for numbers in ((0.6, 0.8), (1.0, 0.0)))


def ask(*inputs: Any, **fields: Any) -> embedding_pb2.CreateEmbeddingsRequest:
    entries = [{"text": one} if isinstance(one, str) else {"tokens": {"ids": one}} for one in inputs]
    return embedding_pb2.CreateEmbeddingsRequest(**{"model": "a", "input": entries, **fields})


def problems(request: embedding_pb2.CreateEmbeddingsRequest) -> dict[str, str]:
    with pytest.raises(ServiceError) as caught:
        check_embeddings(request)
    assert caught.value.condition is Condition.INVALID
    return {violation.field: violation.description for violation in caught.value.violations}


@pytest.mark.parametrize(
    ("request_message", "field", "words"),
    [
        (ask("x", model=" "), "model", "is required"),
        (ask(), "input", "at least one entry"),
        (ask(*["x"] * 2049), "input", "has 2049 entries; at most 2048"),
        (ask("x", ""), "input[1]", "is empty"),
        (ask([], "x"), "input[0]", "is empty"),
        (ask("x" * (1024 * 1024 + 1)), "input[0]", "longer than 1048576 bytes"),
        (ask(*[[1] * 100_001] * 3), "input", "has 300003 tokens in all"),
        (ask("x", dimensions=0), "dimensions", "at least 1"),
        (ask("x", user="u" * 513), "user", "longer than 512"),
        (ask("x", priority=101), "priority", "must be in [-100, 100]"),
        (ask("x", priority=-101), "priority", "must be in [-100, 100]"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_field_is_named(
    request_message: embedding_pb2.CreateEmbeddingsRequest, field: str, words: str
) -> None:
    found = problems(request_message)
    assert list(found) == [field]
    assert words in found[field]


def test_an_input_without_anything_is_empty() -> None:
    request = embedding_pb2.CreateEmbeddingsRequest(model="a", input=[embedding_pb2.EmbeddingInput()])
    assert problems(request) == {"input[0]": "is empty"}


def test_all_bad_fields_are_named_at_once() -> None:
    assert set(problems(ask("", "x", [], dimensions=-1, model=""))) == {
        "model",
        "input[0]",
        "input[2]",
        "dimensions",
    }


def test_a_request_with_nothing_wrong_passes() -> None:
    check_embeddings(ask("x", [1, 2], dimensions=1, user="u", priority=-100))


def test_a_worker_is_asked_for_what_was_asked() -> None:
    message = build_embed(ask("x", [1, 2], "y", dimensions=7, priority=3), 5, 12.5)
    assert message.inputs == ["x", [1, 2], "y"]
    assert (message.request_id, message.dimensions, message.priority) == (5, 7, 3)
    assert (message.deadline, message.num_done, message.was_taken) == (12.5, 0, False)
    assert abs(message.arrived - time.monotonic()) < 60
    assert build_embed(ask("x"), 1).dimensions is None


def test_vectors_become_an_answer_in_their_order() -> None:
    answer = EmbeddingAnswer("a")
    answer.add(Vectors(1, [FIRST], 3, is_last=False))
    answer.add(Vectors(1, [SECOND, FIRST], 4, is_last=True))
    response = answer.response
    assert response.model == "a"
    assert [entry.index for entry in response.data] == [0, 1, 2]
    numbers = [struct.pack(f"<{len(entry.values)}f", *entry.values) for entry in response.data]
    assert numbers == [FIRST, SECOND, FIRST]
    assert (response.usage.prompt_tokens, response.usage.total_tokens) == (7, 7)


@pytest.fixture
def service(service: LocalService, worker: Any) -> LocalService:
    """Its model gives vectors."""
    worker.facts = msgspec.structs.replace(worker.facts, embedding_length=2)
    worker.steps = [
        [Vectors(1, [FIRST], 3, is_last=False)],
        [Vectors(1, [SECOND], 4, is_last=True)],
    ]
    return service


async def test_the_service_answers_under_the_model_s_own_name(service: LocalService, worker: Any) -> None:
    response = await service.create_embeddings(ask("x", "y", model="B "), Call("r", timeout_seconds=5.0))
    assert response.model == "a"
    assert [list(entry.values) for entry in response.data] == [pytest.approx([0.6, 0.8]), [1.0, 0.0]]
    assert response.usage.total_tokens == 7
    (timeout,) = worker.timeouts
    assert 0 < timeout <= 5
    assert worker.num_left == 1


async def test_no_model_is_touched_for_a_bad_request(service: LocalService, worker: Any) -> None:
    with pytest.raises(ServiceError):
        await service.create_embeddings(ask(""), CALL)
    assert worker.requests == []


@pytest.mark.parametrize(
    ("request_message", "field"),
    [
        (ask("x", dimensions=3), "dimensions"),
        (ask("x", [1, 100]), "input[1].tokens.ids[1]"),
        (ask([-1]), "input[0].tokens.ids[0]"),
    ],
)
async def test_what_this_model_can_not_be_asked_is_named(
    service: LocalService,
    worker: Any,
    request_message: embedding_pb2.CreateEmbeddingsRequest,
    field: str,
) -> None:
    with pytest.raises(ServiceError) as caught:
        await service.create_embeddings(request_message, CALL)
    assert [violation.field for violation in caught.value.violations] == [field]
    assert caught.value.condition is Condition.INVALID
    assert worker.requests == []


async def test_of_a_model_that_gives_none_its_worker_says_why(service: LocalService, worker: Any) -> None:
    worker.facts = msgspec.structs.replace(worker.facts, embedding_length=0)
    await service.create_embeddings(ask("x", dimensions=3), CALL)
    assert len(worker.requests) == 1


async def test_who_does_not_wait_for_the_model_says_so(service: LocalService) -> None:
    await service.create_embeddings(ask("x"), CALL)
    await service.create_embeddings(ask("x", wait_for_model=False), CALL)
    pool: Any = service._pool
    assert pool.waits == [True, False]


CHAT, EMBEDDINGS = model_pb2.MODEL_CAPABILITY_CHAT, model_pb2.MODEL_CAPABILITY_EMBEDDINGS


@pytest.mark.parametrize(
    ("changes", "settings", "expected"),
    [
        ({}, {}, [EMBEDDINGS]),
        ({"chat_template": "x"}, {}, [CHAT, EMBEDDINGS]),
        ({"chat_template": "x", "is_encoder": True, "pooling_type": 2}, {}, [EMBEDDINGS]),
        ({"is_encoder": True, "pooling_type": 4}, {}, []),
        ({"is_encoder": True, "pooling_type": 0}, {}, []),
        ({"is_encoder": True, "pooling_type": 0}, {"pooling": "mean"}, [EMBEDDINGS]),
    ],
)
def test_what_a_model_can_be_asked_for_is_told_before_it_is_loaded(
    entry: ModelEntry, changes: dict[str, Any], settings: dict[str, Any], expected: list[int]
) -> None:
    assert entry.metadata is not None
    changed = dataclasses.replace(
        entry, metadata=dataclasses.replace(entry.metadata, **changes), settings=ModelSettings(**settings)
    )
    assert list(describe(changed, None, None, 7).facts.capabilities) == expected
