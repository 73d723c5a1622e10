"""Answers in OpenAI's form: true to their description, and the same streamed or whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamawire.v1 import chat_pb2, usage_pb2
from llamawire_server.shim.chat import answers, response_schema
from llamawire_server.shim.chat import events as shim_events
from llamawire_server.shim.chat.events import ChunkEvents

TEXT = st.text(max_size=6)
UINT32 = st.integers(0, 2**32 - 1)
LOGPROB = st.floats(width=32, max_value=0, allow_infinity=False)
REASONS = st.sampled_from(chat_pb2.FinishReason.values()[1:])

TOP_LOGPROBS = st.builds(chat_pb2.TopLogprob, token=TEXT, logprob=LOGPROB, bytes=st.binary(max_size=4))
TOKENS = st.builds(
    chat_pb2.TokenLogprob,
    token=TEXT,
    logprob=LOGPROB,
    bytes=st.binary(max_size=4),
    top_logprobs=st.lists(TOP_LOGPROBS, max_size=2),
)
CALLS = st.builds(
    chat_pb2.ToolCall,
    id=TEXT.filter(bool),
    type=st.just("function"),
    function=st.builds(chat_pb2.FunctionCall, name=TEXT.filter(bool), arguments=TEXT),
)
USAGES = st.builds(
    usage_pb2.Usage,
    prompt_tokens=UINT32,
    completion_tokens=UINT32,
    total_tokens=UINT32,
    prompt_cache_hit_tokens=UINT32,
    prompt_cache_miss_tokens=UINT32,
    prompt_tokens_details=st.builds(usage_pb2.PromptTokensDetails, cached_tokens=UINT32),
    completion_tokens_details=st.builds(
        usage_pb2.CompletionTokensDetails,
        reasoning_tokens=UINT32,
        accepted_prediction_tokens=UINT32,
        rejected_prediction_tokens=UINT32,
        accepted_draft_tokens=UINT32,
        rejected_draft_tokens=UINT32,
    ),
)


@st.composite
def choices(draw: st.DrawFn, index: int) -> chat_pb2.Choice:
    choice = chat_pb2.Choice(
        index=index,
        message=chat_pb2.Message(
            role=chat_pb2.ROLE_ASSISTANT,
            content=draw(st.none() | TEXT),
            reasoning_content=draw(st.none() | TEXT),
            refusal=draw(st.none() | TEXT),
            tool_calls=draw(st.lists(CALLS, max_size=2)),
        ),
        finish_reason=draw(REASONS),
        matched_stop=draw(TEXT),
    )
    if draw(st.booleans()):
        choice.logprobs.content.extend(draw(st.lists(TOKENS, max_size=3)))
    return choice


@st.composite
def completions(draw: st.DrawFn) -> chat_pb2.ChatCompletion:
    return chat_pb2.ChatCompletion(
        id=draw(TEXT),
        created=draw(UINT32),
        model=draw(TEXT),
        system_fingerprint=draw(TEXT),
        service_tier="default",
        choices=[draw(choices(index)) for index in range(draw(st.integers(1, 3)))],
        usage=draw(USAGES),
        timings=usage_pb2.Timings(),
    )


@st.composite
def streams(draw: st.DrawFn) -> tuple[chat_pb2.ChatCompletion, list[chat_pb2.ChatCompletionChunk]]:
    """An answer, and one of the ways in which a service may stream it."""
    answer = draw(completions())
    news = [list(_news_of(draw, choice)) for choice in answer.choices]
    chunks: list[chat_pb2.ChatCompletionChunk] = []
    while any(news):
        chunk = chat_pb2.ChatCompletionChunk(
            id=answer.id,
            created=answer.created,
            model=answer.model,
            system_fingerprint=answer.system_fingerprint,
            service_tier=answer.service_tier,
        )
        for waiting in news:
            if waiting and not draw(st.booleans()):
                chunk.choices.append(waiting.pop(0))
        if not any(news):
            chunk.usage.CopyFrom(answer.usage)
            chunk.timings.CopyFrom(answer.timings)
        chunks.append(chunk)
    return answer, chunks


def _news_of(draw: st.DrawFn, choice: chat_pb2.Choice) -> Iterator[chat_pb2.ChunkChoice]:
    message, index = choice.message, choice.index
    yield chat_pb2.ChunkChoice(index=index, delta=chat_pb2.Delta(role=chat_pb2.ROLE_ASSISTANT))
    for field in ("reasoning_content", "content", "refusal"):
        for piece in _pieces(draw, getattr(message, field)):
            yield chat_pb2.ChunkChoice(index=index, delta=chat_pb2.Delta(**{field: piece}))
    for place, call in enumerate(message.tool_calls):
        opening = chat_pb2.ToolCallDelta(index=place, id=call.id, type=call.type)
        opening.function.name = call.function.name
        yield chat_pb2.ChunkChoice(index=index, delta=chat_pb2.Delta(tool_calls=[opening]))
        for piece in _pieces(draw, call.function.arguments):
            more = chat_pb2.ToolCallDelta(index=place, function=chat_pb2.FunctionCallDelta(arguments=piece))
            yield chat_pb2.ChunkChoice(index=index, delta=chat_pb2.Delta(tool_calls=[more]))
    last = chat_pb2.ChunkChoice(
        index=index, finish_reason=choice.finish_reason, matched_stop=choice.matched_stop
    )
    if choice.HasField("logprobs"):
        last.logprobs.CopyFrom(choice.logprobs)
    yield last


def _pieces(draw: st.DrawFn, text: str) -> list[str]:
    cut = draw(st.integers(0, len(text)))
    return [text[:cut], text[cut:]]


def sent(chunks: list[chat_pb2.ChatCompletionChunk], *, include_usage: bool) -> list[dict[str, Any]]:
    """What goes out for these chunks, parsed."""
    events = ChunkEvents("smollm2", include_usage, as_functions=False)
    data = b"".join([*(events.write(chunk) for chunk in chunks), events.end()])
    *lines, done, nothing = data.split(b"\n\n")
    assert (done, nothing) == (b"data: [DONE]", b"")
    return [json.loads(line.removeprefix(b"data: ")) for line in lines]


def put_together(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The choices that the chunks add up to, by the rules that OpenAI's clients go by."""
    choices: list[dict[str, Any]] = []
    for chunk in chunks:
        for piece in chunk["choices"]:
            if piece["index"] == len(choices):
                assert piece["delta"] == {"role": "assistant", "content": ""}
                message = {"role": "assistant", "content": "", "refusal": None}
                choices.append(
                    {"index": len(choices), "message": message, "logprobs": None, "finish_reason": None}
                )
                continue
            choice = choices[piece["index"]]
            assert choice["finish_reason"] is None
            assert "role" not in piece["delta"]
            _add(choice["message"], piece["delta"])
            choice["finish_reason"] = piece["finish_reason"]
            if "matched_stop" in piece:
                assert piece["finish_reason"]
                choice["matched_stop"] = piece["matched_stop"]
            if piece["logprobs"] is not None:
                choice["logprobs"] = piece["logprobs"]
            assert piece["finish_reason"] is None or piece["delta"] == {}
    return choices


def _add(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for field in ("content", "reasoning_content", "refusal"):
        if field in delta:
            message[field] = (message.get(field) or "") + delta[field]
    for call in delta.get("tool_calls", ()):
        calls = message.setdefault("tool_calls", [])
        if call["index"] == len(calls):
            assert list(call) == ["index", "id", "type", "function"]
            calls.append({"id": call["id"], "type": call["type"], "function": call["function"]})
        else:
            assert list(call) == ["index", "function"]
            assert list(call["function"]) == ["arguments"]
            calls[call["index"]]["function"]["arguments"] += call["function"]["arguments"]


@given(completions(), st.booleans())
def test_an_answer_is_as_described(answer, as_functions):
    body = answers.chat_completion(answer, as_functions)
    response_schema.ChatCompletion.model_validate(json.loads(json.dumps(body)))


@given(streams(), st.booleans(), st.booleans())
def test_chunks_are_as_described(stream, include_usage, as_functions):
    events = ChunkEvents("smollm2", include_usage, as_functions)
    for chunk in stream[1]:
        data = events.write(chunk) + events.keep_alive()
        for line in data.decode().removesuffix("\n\n").split("\n\n"):
            response_schema.ChatCompletionChunk.model_validate_json(line.removeprefix("data: "))


@given(streams())
def test_a_stream_adds_up_to_the_whole_answer(stream):
    answer, chunks = stream
    pieces = sent(chunks, include_usage=True)
    whole = answers.chat_completion(answer, as_functions=False)
    last = pieces.pop()
    assert (last["usage"], last["timings"], last["choices"]) == (whole["usage"], whole["timings"], [])
    for piece in pieces:
        assert piece.pop("usage") is None
        assert len(piece["choices"]) == 1
    together = put_together(pieces)
    for choice in together:
        # The deltas cannot say it: an opening with an empty text comes first whatever follows.
        if choice["message"].get("tool_calls") and choice["message"]["content"] == "":
            choice["message"]["content"] = None
    assert together == whole["choices"]
    envelope = {key: value for key, value in whole.items() if key not in ("choices", "usage", "timings")}
    envelope["object"] = "chat.completion.chunk"
    assert all({**piece, "choices": None} == {**envelope, "choices": None} for piece in pieces)


TEXTS = st.text(
    st.characters(codec="utf-8") | st.sampled_from('"\\\n\x00\x7f\x85\u2028\u2029é🦊'), max_size=6
)


@st.composite
def tokens(draw: st.DrawFn) -> list[chat_pb2.ChatCompletionChunk]:
    """Mostly text alone, as it comes token by token, with anything else in between."""
    names = {"id": draw(TEXTS), "created": 5, "model": draw(TEXTS), "service_tier": '"content":""'}
    chunks = []
    for _ in range(draw(st.integers(1, 6))):
        chunk = chat_pb2.ChatCompletionChunk(**names)
        for index in draw(st.lists(st.integers(0, 3), max_size=3)):
            delta = chat_pb2.Delta(content=draw(TEXTS))
            choice = chat_pb2.ChunkChoice(index=index, delta=delta)
            more = draw(
                st.sampled_from([None, None, None, "reasoning", "refusal", "call", "logprobs", "end"])
            )
            if more == "reasoning":
                choice.delta.reasoning_content = draw(TEXTS)
            elif more == "refusal":
                choice.delta.refusal = draw(TEXTS)
            elif more == "call":
                choice.delta.tool_calls.add(index=0, id="a").function.arguments = draw(TEXTS)
            elif more == "logprobs":
                choice.logprobs.content.add(token="a", logprob=-1)
            elif more == "end":
                choice.finish_reason = chat_pb2.FINISH_REASON_STOP
            chunk.choices.append(choice)
        if draw(st.booleans()):
            chunk.usage.completion_tokens = draw(st.integers(0, 9))
        chunks.append(chunk)
    return chunks


@given(tokens(), st.sampled_from(["never", "at the end", "always"]), st.booleans())
def test_text_alone_is_written_as_anything_is(chunks, usage, as_functions):
    """The short way gives the bytes that the long way gives, and these are what a JSON encoder makes of the whole."""

    def write() -> list[bytes]:
        events = ChunkEvents("smollm2", usage != "never", as_functions, continuous_usage=usage == "always")
        return [events.write(chunk) for chunk in chunks]

    short = write()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shim_events, "_is_text_alone", lambda choice: False)
        long = write()
    assert short == long
    for event in b"".join(short).split(b"\n\n")[:-1]:
        again = msgspec.json.encode(json.loads(event.removeprefix(b"data: "))).decode()
        for character in "\x85\u2028\u2029":
            again = again.replace(character, f"\\u{ord(character):04x}")
        assert event.decode() == f"data: {again}"


def test_an_empty_delta_is_not_sent(script):
    chunks = [script.chunk(script.role()), script.chunk(script.text("")), script.chunk()]
    assert len(sent(chunks, include_usage=False)) == 1


def test_one_choice_and_one_kind_of_news_an_event(script):
    both = chat_pb2.Delta(reasoning_content="Hm.", content="Hi")
    chunk = script.chunk(
        chat_pb2.ChunkChoice(index=0, delta=both, finish_reason=chat_pb2.FINISH_REASON_LENGTH),
        script.text("Ho", 1),
        usage=script.usage,
    )
    pieces = [piece["choices"][0] for piece in sent([chunk], include_usage=False)]
    assert [(piece["index"], piece["delta"], piece["finish_reason"]) for piece in pieces] == [
        (0, {"role": "assistant", "content": ""}, None),
        (0, {"reasoning_content": "Hm."}, None),
        (0, {"content": "Hi"}, None),
        (0, {}, "length"),
        (1, {"role": "assistant", "content": ""}, None),
        (1, {"content": "Ho"}, None),
    ]


def test_log_probabilities_are_sent_once(script):
    token = chat_pb2.TokenLogprob(token="Hi", logprob=-0.5, bytes=b"Hi")
    choice = script.text("Hi")
    choice.delta.reasoning_content = "Hm."
    choice.logprobs.content.append(token)
    choice.finish_reason = chat_pb2.FINISH_REASON_STOP
    pieces = [piece["choices"][0] for piece in sent([script.chunk(choice)], include_usage=False)]
    assert [piece["delta"] for piece in pieces if piece["logprobs"]] == [{"content": "Hi"}], (
        "they are the text's"
    )


def test_log_probabilities_without_text_have_an_event_of_their_own(script):
    choice = chat_pb2.ChunkChoice(index=0, delta=chat_pb2.Delta(reasoning_content="Hm."))
    choice.logprobs.content.append(chat_pb2.TokenLogprob(token="Hi", logprob=-0.5, bytes=b"Hi"))
    pieces = [piece["choices"][0] for piece in sent([script.chunk(choice)], include_usage=False)]
    assert [piece["delta"] for piece in pieces if piece["logprobs"]] == [{}]


def test_no_line_of_text_ends_inside_an_event(script):
    """U+2028 and its like are line ends for clients that read text by lines."""
    text = "a\u2028b\u2029c\u0085d\re\nf\x0bg\x1ch"
    events = ChunkEvents("smollm2", include_usage=False, as_functions=False)
    data = events.write(script.chunk(script.role(), script.text(text))).decode()
    lines = [line for line in data.splitlines() if line]
    assert len(lines) == 2
    assert json.loads(lines[1].removeprefix("data: "))["choices"][0]["delta"]["content"] == text


@pytest.mark.parametrize(
    ("message", "content"),
    [
        ({}, ""),
        ({"content": ""}, ""),
        ({"reasoning_content": "Hm."}, ""),
        ({"tool_calls": [chat_pb2.ToolCall(id="a")]}, None),
        ({"tool_calls": [chat_pb2.ToolCall(id="a")], "content": "Wait."}, "Wait."),
    ],
)
def test_content_is_null_only_beside_tool_calls(script, message, content):
    answer = script.completion(script.choice(**message))
    found = answers.chat_completion(answer, as_functions=False)["choices"][0]["message"]
    assert found["content"] == content
    assert found["refusal"] is None


def test_a_function_call_takes_the_place_of_a_tool_call(script):
    call = chat_pb2.ToolCall(id="a", function=chat_pb2.FunctionCall(name="f", arguments="{}"))
    reason = chat_pb2.FINISH_REASON_TOOL_CALLS
    answer = script.completion(script.choice(finish_reason=reason, tool_calls=[call]))
    choice = answers.chat_completion(answer, as_functions=True)["choices"][0]
    assert choice["message"]["function_call"] == {"name": "f", "arguments": "{}"}
    assert "tool_calls" not in choice["message"]
    assert choice["finish_reason"] == "function_call"


@pytest.mark.parametrize("reason", chat_pb2.FinishReason.values())
def test_every_finish_reason_has_openai_s_name(reason):
    name = chat_pb2.FinishReason.Name(reason).removeprefix("FINISH_REASON_").lower()
    assert answers.finish_reason(reason, as_functions=False) == (None if reason == 0 else name)
