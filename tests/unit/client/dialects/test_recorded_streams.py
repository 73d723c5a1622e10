"""Recorded streams of DeepSeek and Qwen: what their chunks say, and that they are written as they were."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamawire import StreamHandler
from llamawire.dialects import DONE_EVENT, SSEChatStream, read_chunk, write_chunk, write_event
from llamawire.v1 import chat_pb2


def sse(recording: list[str]) -> bytes:
    return b"".join(b"data: %b\n\n" % line.encode() for line in recording) + DONE_EVENT


def test_chunks_are_written_as_they_were(recording):
    written = [write_chunk(read_chunk(line)) for line in recording]

    assert [json.loads(line) for line in written] == [json.loads(line) for line in recording]


def test_what_was_written_is_read_as_what_it_was_written_of(recording):
    for line in recording:
        chunk = read_chunk(line)
        assert read_chunk(write_chunk(chunk)) == chunk


def test_chunks_survive_their_way_over_grpc(recording):
    for line in recording:
        sent = read_chunk(line).SerializeToString()
        received = chat_pb2.ChatCompletionChunk.FromString(sent)
        assert json.loads(write_chunk(received)) == json.loads(line)


def test_a_whole_stream_is_written_as_it_was(recording):
    stream = SSEChatStream([sse(recording)])

    written = b"".join(write_event(chunk.proto) for chunk in stream) + DONE_EVENT

    events = [event.removeprefix(b"data: ") for event in written.split(b"\n\n")]
    assert events[-2:] == [b"[DONE]", b""]
    assert [json.loads(event) for event in events[:-2]] == [json.loads(line) for line in recording]


def test_every_cut_of_the_bytes_gives_the_same_chunks(recording):
    stream = sse(recording)
    whole = [chunk.proto for chunk in SSEChatStream([stream])]

    # Three events, the end's among them, hold every kind of place that there is to cut at.
    short = sse([recording[0], recording[-1]])
    expected = [whole[0], whole[-1]]
    for cut in range(len(short) + 1):
        assert [chunk.proto for chunk in SSEChatStream([short[:cut], short[cut:]])] == expected
    assert [chunk.proto for chunk in SSEChatStream(bytes([byte]) for byte in stream)] == whole


@given(cuts=st.lists(st.integers(0, 5000), max_size=20), ends=st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_any_cuts_of_a_stream_with_comments_give_the_same_text(cuts, ends):
    answer = ["Grüße", " 来自", "\u2028", "🦙"]
    events = []
    for text in answer:
        choice = chat_pb2.ChunkChoice(index=0, delta=chat_pb2.Delta(content=text))
        events += [b": ping\n\n", write_event(chat_pb2.ChatCompletionChunk(choices=[choice]))]
    stream = b"".join([*events, DONE_EVENT]).replace(b"\n", ends)
    places = sorted(min(cut, len(stream)) for cut in cuts)
    pieces = [stream[start:end] for start, end in zip([0, *places], [*places, len(stream)], strict=True)]

    assert list(SSEChatStream(pieces).text_stream) == answer


def test_what_deepseek_said(deepseek):
    stream = SSEChatStream([sse(deepseek)])
    first, *_, last = (chunk.proto for chunk in stream)

    assert stream.completion.text == "Hello! How can I assist you today?"
    assert stream.completion.finish_reason == "stop"
    assert stream.completion.model == "deepseek-chat"
    assert stream.completion.message.role == chat_pb2.ROLE_ASSISTANT
    assert stream.completion.usage.total_tokens == 26
    assert stream.completion.usage.completion_tokens == 9
    assert stream.completion.proto.system_fingerprint == "fp_a49d71b8a1"
    assert not stream.completion.proto.HasField("dialect")
    # Usage is null on the first chunk, on no other before the last, and there on the last; the role is null there.
    assert first.dialect.nulls == ["/usage"]
    assert last.choices[0].delta.role == chat_pb2.ROLE_UNSPECIFIED
    assert last.choices[0].delta.HasField("content")
    assert last.dialect.nulls == ["/choices/0/delta/role"]
    assert last.dialect.absent == ["/usage/prompt_cache_hit_tokens", "/usage/prompt_cache_miss_tokens"]


def test_most_of_deepseek_s_chunks_are_as_llamawire_writes_them(deepseek):
    chunks = [read_chunk(line) for line in deepseek]

    assert [chunk.HasField("dialect") for chunk in chunks] == [True, *[False] * 9, True]


def test_what_qwen_said(qwen):
    stream = SSEChatStream([sse(qwen)])
    *chunks, last = (chunk.proto for chunk in stream)

    assert stream.completion.text == "我是来自阿里云的超大规模语言模型,我叫通义千问。"
    assert stream.completion.finish_reason == "stop"
    assert stream.completion.usage.prompt_tokens == 22
    assert not last.choices
    assert last.usage.total_tokens == 39
    assert last.usage.HasField("prompt_tokens_details")
    assert not last.usage.HasField("completion_tokens_details")
    assert set(last.dialect.nulls) == {
        "/service_tier",
        "/system_fingerprint",
        "/usage/completion_tokens_details",
        "/usage/prompt_tokens_details/audio_tokens",
    }
    nothing = {"function_call", "refusal", "role", "tool_calls"}
    assert {f"/choices/0/delta/{name}" for name in nothing} < set(chunks[1].dialect.nulls)


@pytest.mark.parametrize("name", ["deepseek", "qwen"])
def test_handlers_are_told_of_any_provider_s_stream(name, request):
    told = []

    class Recorder(StreamHandler):
        def on_start(self):
            told.append("start")

        def on_token(self, text, choice_index):
            told.append(text)

        def on_complete(self, completion):
            told.append(completion.finish_reason)

    completion = SSEChatStream([sse(request.getfixturevalue(name))]).run(Recorder())

    assert told == ["start", *told[1:-1], "stop"]
    assert "".join(told[1:-1]) == completion.text
