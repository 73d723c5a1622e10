"""Chunks add up to the answer that they were split from."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llamawire import CompletionBuilder
from llamawire.v1 import chat_pb2, usage_pb2

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
counts = st.integers(0, 2**32 - 1)

token_logprobs = st.builds(
    chat_pb2.TokenLogprob,
    token=texts,
    logprob=st.floats(-100, 0, width=32),
    bytes=st.binary(max_size=3),
    top_logprobs=st.lists(st.builds(chat_pb2.TopLogprob, token=texts), max_size=2),
)
logprobs = st.builds(
    chat_pb2.Logprobs,
    content=st.lists(token_logprobs, max_size=4),
    refusal=st.lists(token_logprobs, max_size=2),
)
functions = st.builds(chat_pb2.FunctionCall, name=texts, arguments=texts)
tool_calls = st.builds(chat_pb2.ToolCall, id=texts, type=st.just("function"), function=functions)
messages = st.builds(
    chat_pb2.Message,
    role=st.just(chat_pb2.ROLE_ASSISTANT),
    content=st.none() | texts,
    reasoning_content=st.none() | texts,
    refusal=st.none() | texts,
    tool_calls=st.lists(tool_calls, max_size=3),
)
choices = st.builds(
    chat_pb2.Choice,
    message=messages,
    finish_reason=st.sampled_from(chat_pb2.FinishReason.values()),
    matched_stop=st.sampled_from(["", "END"]),
    logprobs=st.none() | logprobs,
)
completions = st.builds(
    chat_pb2.ChatCompletion,
    id=texts,
    created=st.integers(0, 2**62),
    model=texts,
    system_fingerprint=texts,
    service_tier=texts,
    choices=st.lists(choices, max_size=3),
    usage=st.none() | st.builds(usage_pb2.Usage, prompt_tokens=counts, completion_tokens=counts),
    timings=st.none() | st.builds(usage_pb2.Timings),
)


@st.composite
def split_completions(draw):
    """A completion, and chunks that it might be streamed as: cut anywhere, choices interleaved in any way."""
    completion = draw(completions)
    for index, choice in enumerate(completion.choices):
        choice.index = index
    waiting = [list(_news(draw, choice)) for choice in completion.choices]
    chunks = []
    while any(waiting):
        chunk = _head(completion)
        # A chunk has news of some choices, at most one entry each.
        ready = [news for news in waiting if news]
        for news in draw(st.lists(st.sampled_from(range(len(ready))), min_size=1, unique=True)):
            chunk.choices.append(ready[news].pop(0))
        chunks.append(chunk)
    last = chunks[-1] if chunks and draw(st.booleans()) else _head(completion)
    if not chunks or last is not chunks[-1]:
        chunks.append(last)
    for name in ("usage", "timings"):
        if completion.HasField(name):
            getattr(last, name).CopyFrom(getattr(completion, name))
    return completion, chunks


def _head(completion):
    return chat_pb2.ChatCompletionChunk(
        id=completion.id,
        created=completion.created,
        model=completion.model,
        system_fingerprint=completion.system_fingerprint,
        service_tier=completion.service_tier,
    )


def _news(draw, choice):
    """What is streamed of one choice, piece by piece."""
    yield chat_pb2.ChunkChoice(index=choice.index, delta=chat_pb2.Delta(role=choice.message.role))
    for name in ("reasoning_content", "content", "refusal"):
        if choice.message.HasField(name):
            for piece in _pieces(draw, getattr(choice.message, name)):
                yield chat_pb2.ChunkChoice(index=choice.index, delta=chat_pb2.Delta(**{name: piece}))
    for index, call in enumerate(choice.message.tool_calls):
        first, *others = _pieces(draw, call.function.arguments)
        opening = chat_pb2.FunctionCallDelta(name=call.function.name, arguments=first)
        deltas = [chat_pb2.ToolCallDelta(index=index, id=call.id, type=call.type, function=opening)]
        for arguments in others:
            more = chat_pb2.FunctionCallDelta(arguments=arguments)
            deltas.append(chat_pb2.ToolCallDelta(index=index, function=more))
        for delta in deltas:
            yield chat_pb2.ChunkChoice(index=choice.index, delta=chat_pb2.Delta(tool_calls=[delta]))
    if choice.HasField("logprobs"):
        cut = draw(st.integers(0, len(choice.logprobs.content)))
        for part in (
            chat_pb2.Logprobs(content=choice.logprobs.content[:cut], refusal=choice.logprobs.refusal),
            chat_pb2.Logprobs(content=choice.logprobs.content[cut:]),
        ):
            yield chat_pb2.ChunkChoice(index=choice.index, logprobs=part)
    yield chat_pb2.ChunkChoice(
        index=choice.index, finish_reason=choice.finish_reason, matched_stop=choice.matched_stop
    )


def _pieces(draw, text):
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@given(split_completions())
def test_chunks_add_up_to_what_they_were_split_from(split):
    completion, chunks = split
    builder = CompletionBuilder()

    for chunk in chunks:
        builder.add(chunk)

    assert builder.build() == completion


def test_what_was_built_does_not_change_with_later_chunks(text_chunks):
    builder = CompletionBuilder()
    first, hel, lo, last = text_chunks("Hel", "lo")
    builder.add(first)
    builder.add(hel)

    early = builder.build()
    builder.add(lo)
    builder.add(last)

    assert early.choices[0].message.content == "Hel"
    assert early.choices[0].finish_reason == chat_pb2.FINISH_REASON_UNSPECIFIED
    assert builder.build().choices[0].message.content == "Hello"


def test_choices_and_calls_come_out_in_order_whatever_order_they_came_in():
    builder = CompletionBuilder()
    for choice, call in ((1, 0), (0, 1), (0, 0)):
        delta = chat_pb2.Delta(tool_calls=[chat_pb2.ToolCallDelta(index=call, id=f"{choice}.{call}")])
        builder.add(chat_pb2.ChatCompletionChunk(choices=[chat_pb2.ChunkChoice(index=choice, delta=delta)]))

    built = builder.build()

    assert [choice.index for choice in built.choices] == [0, 1]
    assert [call.id for call in built.choices[0].message.tool_calls] == ["0.0", "0.1"]
    assert [call.id for call in builder.tool_calls(1)] == ["1.0"]
    assert builder.tool_calls(7) == []


def test_a_role_or_a_name_that_is_repeated_is_said_once():
    builder = CompletionBuilder()
    for arguments in ('{"a"', ": 1}"):
        function = chat_pb2.FunctionCallDelta(name="f", arguments=arguments)
        call = chat_pb2.ToolCallDelta(index=0, id="call_1", type="function", function=function)
        delta = chat_pb2.Delta(role=chat_pb2.ROLE_ASSISTANT, tool_calls=[call])
        builder.add(chat_pb2.ChatCompletionChunk(choices=[chat_pb2.ChunkChoice(index=0, delta=delta)]))

    message = builder.build().choices[0].message

    assert message.role == chat_pb2.ROLE_ASSISTANT
    function = chat_pb2.FunctionCall(name="f", arguments='{"a": 1}')
    assert message.tool_calls[0] == chat_pb2.ToolCall(id="call_1", type="function", function=function)
