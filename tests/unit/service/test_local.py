"""The service on a pool: what is checked before a model is touched, deadlines, queues, drain."""

from __future__ import annotations

import asyncio
from typing import Any

from service_fakes import CALL, FakePool, chat, read_all
from waiting import refused

from llamawire.v1 import model_pb2, tokenizer_pb2
from llamawire_server.errors import Condition
from llamawire_server.service.interface import Call
from llamawire_server.service.local import LocalService
from llamawire_server.worker.messages import RenderedPrompt, RenderPrompt, Text, TokenCount, Tokens


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

    part = tokenizer_pb2.TokenizeRequest.Part
    mixed = [part(text="ab"), part(tokens=part.Tokens(tokens=[7, 99])), part(text="")]
    await service.tokenize(tokenizer_pb2.TokenizeRequest(model="a", parts=mixed), CALL)
    assert worker.requests[-1].parts == ["ab", [7, 99], ""]
    mixed[1].tokens.tokens.append(100)
    error = await refused(service.tokenize(tokenizer_pb2.TokenizeRequest(model="a", parts=mixed), CALL))
    assert [violation.field for violation in error.violations] == ["parts[1].tokens[2]"]

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
    assert worker.requests[-1].add_generation_prompt
    closed = tokenizer_pb2.ApplyChatTemplateRequest(request=chat(), add_generation_prompt=False)
    await service.apply_chat_template(closed, CALL)
    assert not worker.requests[-1].add_generation_prompt
