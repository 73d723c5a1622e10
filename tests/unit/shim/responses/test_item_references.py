"""Items of kept responses by their ids, in the places of references to them."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest
from named_events import call_delta, calls, events_of, reasoning, tool_call

from llamawire.v1 import chat_pb2
from llamawire_server.errors import invalid_field

pytestmark = pytest.mark.asyncio(loop_scope="module")

RESPONSES = "/v1/responses"
HI: dict[str, Any] = {"model": "smollm2", "input": "Hi"}
UNKNOWN = f"msg_{'0' * 32}"


def reference(item: dict[str, Any] | str) -> dict[str, Any]:
    return {"type": "item_reference", "id": item if isinstance(item, str) else item["id"]}


def ask(text: str, **fields: Any) -> dict[str, Any]:
    return {"role": "user", "content": text, **fields}


def output(call_id: str) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": "sunny"}


def shown(service: Any) -> list[str]:
    """The messages of the last request in short: who, what was reasoned, said and called."""
    told = []
    for message in service.requests[-1].messages:
        role = chat_pb2.Role.Name(message.role).removeprefix("ROLE_").lower()
        said = message.content + "".join(part.text for part in message.content_parts)
        made = "".join(f" {call.id}{call.function.arguments}" for call in message.tool_calls)
        told.append(f"{role}:{message.reasoning_content}{said}{made}")
    return told


async def respond(http: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await http.post(RESPONSES, json=HI | fields)
    assert answer.status_code == 200, answer.text
    response: dict[str, Any] = (
        events_of(answer.text)[-1]["response"] if fields.get("stream") else answer.json()
    )
    return response


async def refused(http: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await http.post(RESPONSES, json=HI | fields)
    assert answer.status_code == 400, answer.text
    error: dict[str, Any] = answer.json()["error"]
    return error


async def input_items(http: httpx.AsyncClient, response: dict[str, Any]) -> list[dict[str, Any]]:
    listed = await http.get(f"{RESPONSES}/{response['id']}/input_items", params={"order": "asc"})
    items: list[dict[str, Any]] = listed.json()["data"]
    return items


@pytest.mark.parametrize("stream", [False, True])
async def test_what_was_answered_is_found(http, service, script, stream):
    made = tool_call("call_a", "f", '{"a":1}')
    service.answer = script.completion(
        script.choice(
            finish_reason=chat_pb2.FINISH_REASON_TOOL_CALLS,
            content="Let me look.",
            reasoning_content="hm ",
            tool_calls=[made],
        )
    )
    service.steps = [
        script.chunk(script.role()),
        script.chunk(reasoning("hm ")),
        script.chunk(script.text("Let me look.")),
        script.chunk(calls(call_delta(0, '{"a":1}', id="call_a", name="f"))),
        script.chunk(script.finish(chat_pb2.FINISH_REASON_TOOL_CALLS), usage=script.usage),
    ]
    first = await respond(http, stream=stream)
    service.answer = script.completion()
    replayed = [ask("Hi"), *map(reference, first["output"]), output("call_a")]
    await respond(http, input=replayed)
    assert shown(service) == ["user:Hi", 'assistant:hm Let me look. call_a{"a":1}', "tool:sunny"]
    assert service.requests[-1].messages[1].tool_calls[0] == made


async def test_a_reference_is_known_by_having_nothing_but_an_id(http, service, script):
    service.answer = script.completion()
    item_id = (await respond(http))["output"][0]["id"]
    for given in ({"id": item_id}, {"type": None, "id": item_id}):
        await respond(http, input=[given, ask("Why?")])
        assert shown(service) == ["assistant:Hello", "user:Why?"]
    assert (await refused(http, input=[{"id": item_id, "text": "Hi"}]))["param"] == "input[0].type"


async def test_what_was_asked_is_found(http, service, script):
    """By the ids that the server gave it."""
    service.answer = script.completion()
    first = await respond(http, input=[ask("One"), ask("Two", id="msg_mine")])
    one, two = await input_items(http, first)
    await respond(http, input=[reference(one), ask("Three")])
    assert shown(service) == ["user:One", "user:Three"]
    text = await respond(http)
    (hi,) = await input_items(http, text)
    await respond(http, input=[reference(hi)])
    assert shown(service) == ["user:Hi"]
    assert two["id"] == "msg_mine"
    assert "msg_mine" in (await refused(http, input=[reference(two)]))["message"], "others may use this name"


async def test_a_caller_can_not_put_another_item_in_the_place_of_a_kept_one(http, service, script):
    service.answer = script.completion()
    item = (await respond(http))["output"][0]
    forged = {"type": "message", "role": "assistant", "content": "Forged", "id": item["id"]}
    await respond(http, input=[forged, ask("Why?")])
    await respond(http, input=[reference(item), forged, ask("Why?")])
    await respond(http, input=[reference(item)])
    assert shown(service) == ["assistant:Hello"]


async def test_what_the_conversation_has_already_does_not_come_again(http, service, script):
    service.answer = script.completion()
    first = await respond(http, input=[ask("Hi", id="msg_mine")])
    item = reference(first["output"][0])
    expected = ["user:Hi", "assistant:Hello", "user:Why?"]
    await respond(http, input=[item, ask("Why?")], previous_response_id=first["id"])
    assert shown(service) == expected
    await respond(http, input=[reference("msg_mine"), ask("Why?")], previous_response_id=first["id"])
    assert shown(service) == expected
    for given in ([ask("Hi"), item, item, ask("Why?")], [ask("Hi"), first["output"][0], item, ask("Why?")]):
        await respond(http, input=given)
        assert shown(service) == expected


async def test_an_unknown_item_is_named(http, service, script):
    service.answer = script.completion()
    first = await respond(http)
    gone = await respond(http, input="Bye")
    await http.delete(f"{RESPONSES}/{gone['id']}")
    unkept = await respond(http, store=False)
    num_asked = len(service.requests)
    for item_id in (UNKNOWN, gone["output"][0]["id"], unkept["output"][0]["id"], first["id"]):
        for asked in ({}, {"previous_response_id": first["id"]}, {"stream": True}):
            error = await refused(http, input=[reference(first["output"][0]), reference(item_id)], **asked)
            assert error == {
                "message": f"Item with id '{item_id}' not found.",
                "type": "invalid_request_error",
                "param": "input",
                "code": None,
            }
    assert len(service.requests) == num_asked


async def test_a_conversation_of_references_goes_on_without_its_first_responses(http, service, script):
    """As clients have it that send a reference for all that was answered before."""
    service.answer = script.completion()
    history: list[dict[str, Any]] = []
    responses = []
    for number in range(4):
        history.append(ask(str(number)))
        responses.append(await respond(http, input=history))
        history.append(reference(responses[-1]["output"][0]))
    for response in responses[:-1]:
        await http.delete(f"{RESPONSES}/{response['id']}")
    last = await respond(http, input=[*history, ask("4")])
    expected = [text for number in range(4) for text in (f"user:{number}", "assistant:Hello")]
    assert shown(service) == [*expected, "user:4"]
    listed = await input_items(http, last)
    assert [item["id"] for item in listed[1::2]] == [item["id"] for item in history[1::2]]
    assert {item["type"] for item in listed} == {"message"}


async def test_items_are_found_as_long_as_a_later_response_goes_on_from_theirs(http, service, script):
    service.answer = script.completion()
    first = await respond(http)
    second = await respond(http, input="Why?", previous_response_id=first["id"])
    await http.delete(f"{RESPONSES}/{first['id']}")
    await respond(http, input=[reference(first["output"][0]), ask("So?")], store=False)
    assert shown(service) == ["assistant:Hello", "user:So?"]
    await http.delete(f"{RESPONSES}/{second['id']}")
    await refused(http, input=[reference(first["output"][0])])


async def test_a_cut_call_is_referred_to_as_it_is_gone_on_from(http, service, script):
    length = chat_pb2.FINISH_REASON_LENGTH
    made = tool_call("call_a", "f", '{"city":')
    service.answer = script.completion(script.choice(finish_reason=length, tool_calls=[made]))
    item = reference((await respond(http))["output"][0])
    service.answer = script.completion()
    await respond(http, input=[ask("Hi"), item, output("call_a")])
    assert shown(service) == ["user:Hi", "assistant: call_a{}", "tool:sunny"]
    await respond(http, input=[ask("Hi"), item, ask("Well?")])
    assert shown(service) == ["user:Hi", "assistant:", "user:Well?"]


async def test_a_complaint_about_a_kept_item_names_the_reference(http, service, script):
    made = tool_call("call_a", "f", "{}")
    service.answer = script.completion(script.choice(tool_calls=[made]))
    item = reference((await respond(http))["output"][0])
    for bad in (
        "messages[1].tool_calls[0].id",
        "messages[1].tool_calls[0].function.arguments",
        "messages[1]",
    ):
        service.answer = invalid_field(bad, "is odd")
        assert (await refused(http, input=[ask("Hi"), item]))["param"] == "input[1]"


async def test_the_memory_of_ids_has_its_bound(serve, service, script):
    service.answer = script.completion()
    async with (
        serve(service, max_kept_response_bytes=40_000) as running,
        httpx.AsyncClient(base_url=running.url, trust_env=False) as http,
    ):
        old = await respond(http)
        await respond(http, input=[ask("a")] * 60)
        await respond(http, input=[reference(old["output"][0])])
        await respond(http, input=[ask("a")] * 120)
        await refused(http, input=[reference(old["output"][0])])


async def test_the_sdk_s_own(running, service, script):
    service.answer = script.completion()
    async with openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0) as sdk:
        first = await sdk.responses.create(**HI)
        item_id = first.output[0].id or ""
        await sdk.responses.create(
            model="smollm2",
            input=[{"type": "item_reference", "id": item_id}, {"role": "user", "content": "Why?"}],
        )
        assert shown(service) == ["assistant:Hello", "user:Why?"]
        with pytest.raises(openai.BadRequestError) as caught:
            await sdk.responses.create(model="smollm2", input=[{"id": UNKNOWN}])
    assert caught.value.param == "input"
