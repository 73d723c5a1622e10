"""The service on a pool: what is checked before a model is touched, deadlines, queues, drain."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from llamawire.v1 import chat_pb2, model_pb2, tokenizer_pb2
from llamawire_server.errors import Condition, ServiceError, model_not_found
from llamawire_server.models.resolver import ModelEntry
from llamawire_server.pool.pool import ModelStatus, State
from llamawire_server.pool.roster import Roster
from llamawire_server.service.interface import Call
from llamawire_server.service.local import LocalService
from llamawire_server.worker.messages import (
    Completed,
    RenderedPrompt,
    RenderPrompt,
    Text,
    TextDelta,
    TokenCount,
    Tokens,
)

CALL = Call("req_1")
STEPS = [[TextDelta(1, 0, "hi", [7])], [TextDelta(1, 0, "", [2], "stop"), Completed(1, 5, 0, 2, 0, 0, 0)]]


def chat(**fields: Any) -> chat_pb2.ChatCompletionRequest:
    values = {"model": "a", "messages": [{"role": chat_pb2.ROLE_USER, "content": "x"}], **fields}
    return chat_pb2.ChatCompletionRequest(**values)


class FakePool:
    """One model, always loaded."""

    def memory_bytes(self, entry: ModelEntry) -> int:
        return 1234

    def __init__(self, lease: Any) -> None:
        self._lease = lease
        self.names: list[str] = []
        self.timeouts: list[float | None] = []
        self.num_leases = 0
        self.loaded: list[ModelStatus] = []
        self.failures: dict[Any, str] = {}
        self.waits: list[bool] = []
        self.load_steps: list[ModelStatus] = []
        self.num_loads_left = 0
        self.unloads: list[tuple[str, bool, float | None]] = []

    @contextlib.asynccontextmanager
    async def lease(
        self, name: str, timeout_seconds: float | None = None, *, wait: bool = True
    ) -> AsyncGenerator[Any, None]:
        self.names.append(name)
        self.timeouts.append(timeout_seconds)
        self.waits.append(wait)
        self.num_leases += 1
        try:
            yield self._lease
        finally:
            self.num_leases -= 1

    async def load(
        self, name: str, timeout_seconds: float | None = None
    ) -> AsyncGenerator[ModelStatus, None]:
        self.names.append(name)
        self.timeouts.append(timeout_seconds)
        try:
            for status in self.load_steps:
                yield status
        finally:
            self.num_loads_left += 1

    async def unload(
        self, name: str, *, cancel_running: bool = False, timeout_seconds: float | None = None
    ) -> ModelEntry:
        self.unloads.append((name, cancel_running, timeout_seconds))
        self.loaded = []
        return self._lease.entry  # type: ignore[no-any-return]

    def statuses(self) -> dict[Any, ModelStatus]:
        return {status.entry.path: status for status in self.loaded}

    def failure(self, path: Any) -> str | None:
        return self.failures.get(path)

    def renew(self, entries: Any) -> None:
        """Nothing of it changes."""


class FakeResolver:
    def __init__(self, *entries: ModelEntry) -> None:
        self._entries = entries

    def entries(self, loaded: Any) -> list[ModelEntry]:
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


def roster_of(resolver: Any, pool: Any) -> Roster:
    """A roster that looks when it is asked to only."""
    return Roster(resolver, pool, lambda name, is_ready: None, poll_seconds=1e6, pause_seconds=0)


@pytest.fixture
def resolver(entry: ModelEntry) -> FakeResolver:
    return FakeResolver(entry)


@pytest.fixture
def roster(resolver: FakeResolver, pool: FakePool) -> Roster:
    return roster_of(resolver, pool)


@pytest.fixture
def service(resolver: Any, pool: Any, roster: Roster) -> LocalService:
    return LocalService(resolver, pool, roster)


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
        read_all(service.watch_models(model_pb2.WatchModelsRequest(names=["a", " "]), CALL)),
        read_all(service.watch_models(model_pb2.WatchModelsRequest(names=["a"] * 1000), CALL)),
        read_all(service.load_model(model_pb2.LoadModelRequest(), CALL)),
        service.unload_model(model_pb2.UnloadModelRequest(name="x" * 10_000), CALL),
    ]
    for attempt in attempts:
        assert (await refused(attempt)).condition is Condition.INVALID
    assert (pool.names, pool.unloads) == ([], [])


async def test_what_the_model_can_not_do_gives_the_lease_back(
    service: LocalService, pool: FakePool, worker: Any
) -> None:
    error = await refused(service.create_chat_completion(chat(n=5), CALL))
    assert [violation.field for violation in error.violations] == ["n"]
    assert (worker.requests, pool.num_leases) == ([], 0)


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
    # The worker is told by when, as it decides itself what can still be done.
    with_deadline, without = worker.requests
    assert with_deadline.arrived < with_deadline.deadline <= with_deadline.arrived + 50
    assert without.deadline is None


async def test_who_does_not_wait_for_a_model_says_so_to_the_pool(
    service: LocalService, pool: FakePool, worker: Any
) -> None:
    for request in (chat(), chat(wait_for_model=True), chat(wait_for_model=False)):
        await service.create_chat_completion(request, CALL)
        await read_all(service.stream_chat_completion(request, CALL))
    assert pool.waits == [True, True, True, True, False, False]
    worker.steps = [[TokenCount(1, 12, 4096)]]
    for wait in (True, False):
        count = tokenizer_pb2.CountChatTokensRequest(request=chat(wait_for_model=wait))
        await service.count_chat_tokens(count, CALL)
    assert pool.waits[6:] == [True, False]
    worker.steps = [[RenderedPrompt(1, "", [])]]
    for wait in (True, False):
        shown = tokenizer_pb2.ApplyChatTemplateRequest(request=chat(wait_for_model=wait))
        await service.apply_chat_template(shown, CALL)
    assert pool.waits[8:] == [True, False]


async def test_a_load_is_told_until_the_model_is_there(
    service: LocalService, pool: FakePool, entry: ModelEntry, worker: Any
) -> None:
    pool.load_steps = [
        ModelStatus(entry, State.LOADING, detail="waits for 1 GB"),
        ModelStatus(entry, State.LOADING, load_progress=0.5),
        ModelStatus(entry, State.READY, load_progress=1.0, worker=worker),
    ]
    request = model_pb2.LoadModelRequest(name="B")
    told = [
        response.model
        for response in await read_all(service.load_model(request, Call("req_1", timeout_seconds=50)))
    ]
    assert [model.state for model in told] == [
        model_pb2.MODEL_STATE_LOADING,
        model_pb2.MODEL_STATE_LOADING,
        model_pb2.MODEL_STATE_READY,
    ]
    assert (told[0].detail, told[1].load_progress) == ("waits for 1 GB", 0.5)
    assert told[2].facts.context_length == worker.facts.context_length
    assert (pool.names, pool.timeouts) == (["B"], [50])


async def test_leaving_a_load_tells_the_pool_that_nobody_waits(
    service: LocalService, pool: FakePool, entry: ModelEntry
) -> None:
    pool.load_steps = [ModelStatus(entry, State.LOADING), ModelStatus(entry, State.LOADING)]
    responses = service.load_model(model_pb2.LoadModelRequest(name="a"), CALL)
    await anext(responses)
    assert not await service.drain(0), "a load is a call in flight"
    await responses.aclose()
    assert pool.num_loads_left == 1
    assert await service.drain(0)


@pytest.mark.parametrize("cancel", [False, True])
async def test_an_unload_gives_the_model_as_it_stands_then(
    service: LocalService, pool: FakePool, entry: ModelEntry, cancel: bool
) -> None:
    pool.loaded = [ModelStatus(entry, State.READY)]
    request = model_pb2.UnloadModelRequest(name="B", cancel_running=cancel)
    model = (await service.unload_model(request, Call("req_1", timeout_seconds=50))).model
    assert (model.name, model.state) == ("a", model_pb2.MODEL_STATE_UNLOADED)
    assert pool.unloads == [("B", cancel, 50)]


async def test_no_model_is_loaded_or_unloaded_while_draining(service: LocalService, pool: FakePool) -> None:
    await service.drain(0)
    attempts = [
        read_all(service.load_model(model_pb2.LoadModelRequest(name="a"), CALL)),
        service.unload_model(model_pb2.UnloadModelRequest(name="a"), CALL),
    ]
    for attempt in attempts:
        assert (await refused(attempt)).reason == "DRAINING"
    assert (pool.names, pool.unloads) == ([], [])


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
    assert not worker.requests[-1].unparse_special
    await service.tokenize(tokenizer_pb2.TokenizeRequest(model="a", text="ab", unparse_special=True), CALL)
    assert worker.requests[-1].unparse_special

    worker.steps = [[Text(1, "ab")]]
    answer = await service.detokenize(tokenizer_pb2.DetokenizeRequest(model="a", tokens=[99]), CALL)
    assert answer.text == "ab"
    error = await refused(service.detokenize(tokenizer_pb2.DetokenizeRequest(model="a", tokens=[100]), CALL))
    assert [violation.field for violation in error.violations] == ["tokens[0]"]

    worker.steps = [[TokenCount(1, 12, 4096)]]
    count = await service.count_chat_tokens(tokenizer_pb2.CountChatTokensRequest(request=chat()), CALL)
    assert (count.prompt_tokens, count.context_length) == (12, 4096)

    worker.steps = [[RenderedPrompt(1, "<s>x", [1, 5])]]
    shown = await service.apply_chat_template(tokenizer_pb2.ApplyChatTemplateRequest(request=chat()), CALL)
    assert (shown.prompt, list(shown.tokens)) == ("<s>x", [1, 5])
    assert isinstance(worker.requests[-1], RenderPrompt)
    assert worker.requests[-1].prompt.messages == [{"role": "user", "content": "x"}]


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
    service = LocalService(resolver, pool, roster_of(resolver, pool))
    pool.loaded = [ModelStatus(entry, State.READY)]
    (listed,) = (await service.list_models(model_pb2.ListModelsRequest(), CALL)).models
    assert (listed.name, listed.state) == ("a", model_pb2.MODEL_STATE_READY)
    assert (await service.get_model(model_pb2.GetModelRequest(name="c"), CALL)).model.name == "a"


async def test_what_is_wrong_in_models_yaml_is_told_with_the_model(
    service: LocalService, resolver: FakeResolver, pool: FakePool, entry: ModelEntry
) -> None:
    pool.loaded = [ModelStatus(entry, State.READY)]
    resolver._entries = (dataclasses.replace(entry, problem="models.yaml, line 3: no"),)
    (listed,) = (await service.list_models(model_pb2.ListModelsRequest(), CALL)).models
    found = (await service.get_model(model_pb2.GetModelRequest(name="a"), CALL)).model
    assert listed.problem == found.problem == "models.yaml, line 3: no"
    assert found.state == model_pb2.MODEL_STATE_READY


class TestWatching:
    async def test_models_are_told_and_then_what_becomes_of_them(
        self, service: LocalService, resolver: FakeResolver, pool: FakePool, roster: Roster, entry: ModelEntry
    ) -> None:
        watch = service.watch_models(model_pb2.WatchModelsRequest(names=["B"]), CALL)
        first = await anext(watch)
        assert [(model.name, model.state) for model in first.models] == [
            ("a", model_pb2.MODEL_STATE_UNLOADED)
        ]
        pool.loaded = [ModelStatus(entry, State.LOADING, load_progress=0.5, detail="waits for room")]
        roster.note(pool.loaded[0])
        ((model,), removed) = ((news := await anext(watch)).models, news.removed)
        assert (model.load_progress, model.detail, list(removed)) == (0.5, "waits for room", [])
        pool.loaded, pool.failures[entry.path] = [], "no tensors"
        roster.note(ModelStatus(entry, State.FAILED))
        (model,) = (await anext(watch)).models
        assert (model.state, model.failure) == (model_pb2.MODEL_STATE_FAILED, "no tensors")
        resolver._entries = ()
        await roster.refresh()
        assert list((await anext(watch)).removed) == ["a"]
        await watch.aclose()
        assert not roster._watchers

    async def test_a_watch_holds_up_no_drain_and_ends_with_the_roster(
        self, service: LocalService, roster: Roster
    ) -> None:
        watch = service.watch_models(model_pb2.WatchModelsRequest(), CALL)
        await anext(watch)
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        assert await service.drain(30)
        await roster.close()
        late = anext(service.watch_models(model_pb2.WatchModelsRequest(), CALL))
        for error in (await refused(waiting), await refused(late)):
            assert (error.condition, error.reason) == (Condition.NOT_READY, "DRAINING")
            assert error.retry_after_seconds is not None
