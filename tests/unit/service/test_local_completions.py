"""Completions from a pool: one lease for all prompts of a call, which end together."""

from __future__ import annotations

from typing import Any

import pytest
from service_fakes import CALL, FakePool, read_all
from waiting import refused

from llamawire.v1 import completion_pb2
from llamawire_server.errors import Condition
from llamawire_server.service.interface import Call
from llamawire_server.service.local import LocalService
from llamawire_server.worker.messages import Completed, RawPrompt, TextDelta


def request(*texts: str, **fields: Any) -> completion_pb2.CompletionRequest:
    prompts = [completion_pb2.CompletionPrompt(text=text) for text in texts or ("x",)]
    return completion_pb2.CompletionRequest(**{"model": "a", "prompt": prompts, **fields})


@pytest.mark.parametrize("texts", [["x"], ["x", "y", "z"]])
async def test_whole_and_streamed_say_the_same(
    service: LocalService, pool: FakePool, worker: Any, texts: list[str]
) -> None:
    whole = await service.create_completion(request(*texts), CALL)
    chunks = await read_all(service.stream_completion(request(*texts), CALL))
    assert [(choice.index, choice.text) for choice in whole.choices] == [
        (index, "hi") for index in range(len(texts))
    ]
    for choice in whole.choices:
        streamed = [one for chunk in chunks for one in chunk.choices if one.index == choice.index]
        assert "".join(one.text for one in streamed) == choice.text
        assert streamed[-1].finish_reason == choice.finish_reason
    assert whole.usage.prompt_tokens == 5 * len(texts)
    assert chunks[-1].usage == whole.usage
    assert (len(pool.names), pool.num_leases) == (2, 0)
    assert [one.prompt for one in worker.requests[: len(texts)]] == [
        RawPrompt(f"prompt[{index}]", text) for index, text in enumerate(texts)
    ]


async def test_leaving_a_stream_ends_all_of_its_prompts(
    service: LocalService, pool: FakePool, worker: Any
) -> None:
    chunks = service.stream_completion(request("x", "y", "z"), CALL)
    await anext(chunks)
    assert pool.num_leases == 1
    await chunks.aclose()
    assert (pool.num_leases, worker.num_left) == (0, 3)


async def test_a_bad_request_touches_no_model(service: LocalService, pool: FakePool) -> None:
    bad = request(max_tokens=-1)
    for attempt in (service.create_completion(bad, CALL), read_all(service.stream_completion(bad, CALL))):
        assert (await refused(attempt)).condition is Condition.INVALID
    assert (await refused(read_all(service.stream_completion(request(best_of=2), CALL)))).violations
    assert len(pool.names) == 0


async def test_what_the_model_can_not_do_gives_the_lease_back(
    service: LocalService, pool: FakePool, worker: Any
) -> None:
    error = await refused(service.create_completion(request(n=5), CALL))
    assert [violation.field for violation in error.violations] == ["n"]
    assert (worker.requests, len(pool.names), pool.num_leases) == ([], 1, 0)


async def test_deadlines_and_waiting_are_those_of_the_call(
    service: LocalService, pool: FakePool, worker: Any
) -> None:
    await service.create_completion(
        request("x", "y", wait_for_model=False), Call("req_1", timeout_seconds=50)
    )
    assert pool.waits == [False]
    assert all(0 < seconds <= 50 for seconds in worker.timeouts)
    assert all(one.arrived < one.deadline <= one.arrived + 50 for one in worker.requests)


async def test_the_best_of_several(service: LocalService, worker: Any) -> None:
    worker.steps = [
        [
            TextDelta(1, 0, "a", [1], "stop", logprobs=[]),
            TextDelta(1, 1, "b", [1], "length"),
            Completed(1, 5, 0, 2, 0, 0, 0),
        ]
    ]
    whole = await service.create_completion(request(best_of=2), CALL)
    assert [choice.index for choice in whole.choices] == [0]
    assert (worker.requests[0].num_choices, worker.requests[0].num_top_logprobs) == (2, 0)


async def test_no_completion_while_draining(service: LocalService, pool: FakePool) -> None:
    await service.drain(0)
    assert (await refused(service.create_completion(request(), CALL))).reason == "DRAINING"
    assert len(pool.names) == 0
