"""The service on a pool: what is checked before a model is touched, deadlines, queues, drain."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from llamawire.v1 import chat_pb2, model_pb2, tokenizer_pb2
from llamawire_server.errors import Condition, ServiceError, model_not_found
from llamawire_server.models.pool import ModelStatus, State
from llamawire_server.models.resolver import ModelEntry
from llamawire_server.service.interface import Call
from llamawire_server.service.local import LocalService
from llamawire_server.worker.messages import Completed, Text, TextDelta, TokenCount, Tokens

CALL = Call("req_1")
STEPS = [[TextDelta(1, 0, "hi")], [TextDelta(1, 0, "", "stop"), Completed(1, 5, 0, 2, 0, 0, 0)]]


def chat(**fields: Any) -> chat_pb2.ChatCompletionRequest:
    values = {"model": "a", "messages": [{"role": chat_pb2.ROLE_USER, "content": "x"}], **fields}
    return chat_pb2.ChatCompletionRequest(**values)


class FakePool:
    """One model, always loaded."""

    def __init__(self, lease: Any) -> None:
        self._lease = lease
        self.names: list[str] = []
        self.timeouts: list[float | None] = []
        self.num_leases = 0
        self.loaded: list[ModelStatus] = []
        self.failures: dict[Any, str] = {}

    @contextlib.asynccontextmanager
    async def lease(self, name: str, timeout_seconds: float | None = None) -> AsyncGenerator[Any, None]:
        self.names.append(name)
        self.timeouts.append(timeout_seconds)
        self.num_leases += 1
        try:
            yield self._lease
        finally:
            self.num_leases -= 1

    def statuses(self) -> dict[Any, ModelStatus]:
        return {status.entry.path: status for status in self.loaded}

    def failure(self, path: Any) -> str | None:
        return self.failures.get(path)


class FakeResolver:
    def __init__(self, *entries: ModelEntry) -> None:
        self._entries = entries

    def entries(self) -> list[ModelEntry]:
        return list(self._entries)

    def resolve(self, name: str) -> ModelEntry:
        for entry in self._entries:
            if name.strip().lower() in (entry.name, *entry.aliases):
                return entry
        raise model_not_found(name)


@pytest.fixture
def pool(lease: Any, worker: Any) -> FakePool:
    worker.steps = STEPS
    return FakePool(lease)


@pytest.fixture
def service(pool: Any, entry: ModelEntry) -> LocalService:
    resolver: Any = FakeResolver(entry)
    return LocalService(resolver, pool, max_queued_requests=2)


async def refused(attempt: Any) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await attempt
    return caught.value


async def read_all(chunks: AsyncGenerator[Any, None]) -> list[Any]:
    return [chunk async for chunk in chunks]


async def test_whole_and_streamed_say_the_same(service: LocalService, pool: FakePool) -> None:
    whole = await service.create_chat_completion(chat(), CALL)
    chunks = await read_all(service.stream_chat_completion(chat(), CALL))
    assert whole.choices[0].message.content == "hi"
    assert "".join(choice.delta.content for chunk in chunks for choice in chunk.choices) == "hi"
    assert chunks[-1].usage == whole.usage
    assert (pool.names, pool.num_leases) == (["a", "a"], 0)


async def test_a_bad_request_touches_no_model(service: LocalService, pool: FakePool) -> None:
    attempts = [
        service.create_chat_completion(chat(temperature=3), CALL),
        read_all(service.stream_chat_completion(chat(messages=[]), CALL)),
        service.count_chat_tokens(tokenizer_pb2.CountChatTokensRequest(request=chat(model="")), CALL),
        service.tokenize(tokenizer_pb2.TokenizeRequest(), CALL),
        service.detokenize(tokenizer_pb2.DetokenizeRequest(model="a", tokens=[-1]), CALL),
        service.get_model(model_pb2.GetModelRequest(name=" "), CALL),
    ]
    for attempt in attempts:
        assert (await refused(attempt)).condition is Condition.INVALID
    assert pool.names == []


async def test_what_the_model_can_not_do_gives_the_lease_back(
    service: LocalService, pool: FakePool, worker: Any
) -> None:
    error = await refused(service.create_chat_completion(chat(n=5), CALL))
    assert [violation.field for violation in error.violations] == ["n"]
    assert (worker.requests, pool.num_leases) == ([], 0)


async def test_a_full_queue_is_refused_with_a_time_to_come_back(
    service: LocalService, pool: FakePool, worker: Any
) -> None:
    worker.num_requests = worker.facts.parallel + 2
    error = await refused(service.create_chat_completion(chat(), CALL))
    assert (error.condition, error.reason) == (Condition.BUSY, "QUEUE_FULL")
    assert error.retry_after_seconds is not None
    assert (worker.requests, pool.num_leases) == ([], 0)
    worker.num_requests -= 1
    await service.create_chat_completion(chat(), CALL)


async def test_a_deadline_covers_the_load_and_the_answer(
    service: LocalService, pool: FakePool, worker: Any
) -> None:
    await service.create_chat_completion(chat(), Call("req_1", timeout_seconds=50))
    await service.create_chat_completion(chat(), CALL)
    assert (pool.timeouts[1], worker.timeouts[1]) == (None, None)
    before, after = pool.timeouts[0], worker.timeouts[0]
    assert before is not None
    assert after is not None
    assert 0 < after <= before <= 50


async def test_leaving_a_stream_ends_the_request_and_the_lease(
    service: LocalService, pool: FakePool, worker: Any
) -> None:
    chunks = service.stream_chat_completion(chat(), CALL)
    await anext(chunks)
    assert pool.num_leases == 1
    await chunks.aclose()
    assert (pool.num_leases, worker.num_left) == (0, 1)


async def test_draining_waits_for_what_runs_and_refuses_what_is_new(service: LocalService) -> None:
    service.mark_ready()
    assert await service.is_serving()
    chunks = service.stream_chat_completion(chat(), CALL)
    await anext(chunks)
    assert not await service.drain(0.01)
    draining = asyncio.create_task(service.drain(30))
    await asyncio.sleep(0)
    assert not await service.is_serving()
    error = await refused(service.create_chat_completion(chat(), CALL))
    assert (error.condition, error.reason) == (Condition.NOT_READY, "DRAINING")
    assert not draining.done()
    await read_all(chunks)
    assert await draining
    assert await service.drain(0)


async def test_the_tokenizer(service: LocalService, worker: Any) -> None:
    worker.steps = [[Tokens(1, [1, 2], [b"a", b"b"])]]
    request = tokenizer_pb2.TokenizeRequest(model="a", text="ab")
    answer = await service.tokenize(request, CALL)
    assert (list(answer.tokens), list(answer.pieces)) == ([1, 2], [b"a", b"b"])
    assert worker.requests[-1].add_special, "as the contract's default is"
    await service.tokenize(tokenizer_pb2.TokenizeRequest(model="a", text="ab", add_special=False), CALL)
    assert not worker.requests[-1].add_special

    worker.steps = [[Text(1, "ab")]]
    answer = await service.detokenize(tokenizer_pb2.DetokenizeRequest(model="a", tokens=[99]), CALL)
    assert answer.text == "ab"
    error = await refused(service.detokenize(tokenizer_pb2.DetokenizeRequest(model="a", tokens=[100]), CALL))
    assert [violation.field for violation in error.violations] == ["tokens[0]"]

    worker.steps = [[TokenCount(1, 12, 4096)]]
    count = await service.count_chat_tokens(tokenizer_pb2.CountChatTokensRequest(request=chat()), CALL)
    assert (count.prompt_tokens, count.context_length) == (12, 4096)


async def test_models_are_told_as_they_stand(
    service: LocalService, pool: FakePool, entry: ModelEntry
) -> None:
    request = model_pb2.GetModelRequest(name=" B ")
    assert (await service.get_model(request, CALL)).model.state == model_pb2.MODEL_STATE_UNLOADED
    pool.failures[entry.path] = "no tensors"
    assert (await service.get_model(request, CALL)).model.failure == "no tensors"
    pool.loaded = [ModelStatus(entry, State.LOADING, load_progress=0.25)]
    assert (await service.get_model(request, CALL)).model.load_progress == 0.25
    (listed,) = (await service.list_models(model_pb2.ListModelsRequest(), CALL)).models
    assert (listed.name, listed.state) == ("a", model_pb2.MODEL_STATE_LOADING)
    error = await refused(service.get_model(model_pb2.GetModelRequest(name="nobody"), CALL))
    assert error.condition is Condition.UNKNOWN_MODEL


async def test_a_loaded_model_is_listed_though_its_file_is_gone(pool: Any, entry: ModelEntry) -> None:
    resolver: Any = FakeResolver()
    service = LocalService(resolver, pool, 1)
    pool.loaded = [ModelStatus(entry, State.READY)]
    (listed,) = (await service.list_models(model_pb2.ListModelsRequest(), CALL)).models
    assert (listed.name, listed.state) == ("a", model_pb2.MODEL_STATE_READY)
    assert (await service.get_model(model_pb2.GetModelRequest(name="c"), CALL)).model.name == "a"
