"""Every sampling field of a request, on the real model."""

from __future__ import annotations

from collections import Counter

import pytest
from servers import RunningServer, ask

from llamawire.v1 import chat_pb2, tokenizer_pb2

STORY = "Write a story about a fox."


def answer(server: RunningServer, content: str = STORY, **fields: object) -> str:
    return server.chat.CreateChatCompletion(ask(content, **fields)).choices[0].message.content


def tokens(server: RunningServer, text: str) -> list[int]:
    request = tokenizer_pb2.TokenizeRequest(model="smollm2", text=text, add_special=False)
    return list(server.tokenizer.Tokenize(request).tokens)


def only(server: RunningServer, *texts: str) -> dict[int, float]:
    """A bias that leaves the model nothing to say but these single-token texts."""
    return {tokens(server, text)[0]: 100.0 for text in texts}


def test_temperature_0_is_greedy(server: RunningServer) -> None:
    first = answer(server, temperature=0)
    assert first
    assert [answer(server, temperature=0, seed=seed) for seed in (1, 2)] == [first] * 2


@pytest.mark.parametrize("field", [{"top_k": 1}, {"min_p": 1.0}, {"top_p": 0.0}])
def test_the_narrowest_choice_is_the_greedy_one(server: RunningServer, field: dict[str, float]) -> None:
    assert answer(server, temperature=2.0, **field) == answer(server, temperature=0)


def test_a_seed_reproduces_and_another_one_differs(server: RunningServer) -> None:
    def sample(seed: int) -> str:
        return answer(server, temperature=1.5, top_k=0, top_p=1.0, seed=seed, max_tokens=24)

    assert sample(7) == sample(7)
    assert len({sample(seed) for seed in (7, 8, -9, 2**40)}) == 4


def test_without_a_seed_answers_differ(server: RunningServer) -> None:
    answers = {answer(server, temperature=1.5, top_k=0, top_p=1.0, max_tokens=24) for _ in range(3)}
    assert len(answers) == 3


def test_choices_differ_and_only_the_first_is_what_a_seed_gives_alone(server: RunningServer) -> None:
    request = ask(STORY, temperature=1.5, top_k=0, top_p=1.0, seed=100, n=3)
    completion = server.chat.CreateChatCompletion(request)
    texts = [choice.message.content for choice in completion.choices]
    assert [choice.index for choice in completion.choices] == [0, 1, 2]
    assert len(set(texts)) == 3
    alone = [answer(server, temperature=1.5, top_k=0, top_p=1.0, seed=seed) for seed in (100, 101, 102)]
    assert texts[0] == alone[0]
    assert not set(texts[1:]) & set(alone), "neighbouring seeds have other answers"
    num_prompt_tokens = server.chat.CreateChatCompletion(ask(STORY)).usage.prompt_tokens
    assert completion.usage.prompt_tokens == num_prompt_tokens, "the prompt counts once"
    assert completion.usage.completion_tokens == 3 * 16


def test_absent_fields_take_the_models_defaults_and_an_explicit_0_is_kept(server: RunningServer) -> None:
    request = ask(STORY, seed=5, max_tokens=24)
    request.ClearField("temperature")
    by_default = server.chat.CreateChatCompletion(request).choices[0].message.content
    spelt_out = answer(server, temperature=1.0, top_p=0.95, top_k=64, seed=5, max_tokens=24)
    assert by_default == spelt_out
    assert answer(server, seed=5, max_tokens=24, temperature=0) != by_default
    assert answer(server, seed=5, max_tokens=24, temperature=1.8, top_k=0) != answer(
        server, seed=5, max_tokens=24, temperature=1.8
    )


def test_logit_bias_forces_and_bans(server: RunningServer) -> None:
    assert answer(server, logit_bias=only(server, " fox"), max_tokens=4) == " fox fox fox fox"
    greedy = answer(server, max_tokens=1)
    assert answer(server, max_tokens=1, logit_bias={tokens(server, greedy)[0]: -100}) != greedy


def test_frequency_penalty_makes_equally_forced_tokens_take_turns(server: RunningServer) -> None:
    bias = only(server, " a", " b")
    plain = answer(server, logit_bias=bias, max_tokens=12).split()
    fair = answer(server, logit_bias=bias, max_tokens=12, frequency_penalty=2.0).split()
    assert abs(Counter(fair)["a"] - Counter(fair)["b"]) <= abs(Counter(plain)["a"] - Counter(plain)["b"])
    assert set(fair) == {"a", "b"}


def test_presence_penalty_counts_a_token_once(server: RunningServer) -> None:
    greedy = answer(server, STORY, max_tokens=64).split()
    present = answer(server, STORY, max_tokens=64, presence_penalty=2.0).split()
    assert len(set(present)) / len(present) > len(set(greedy)) / len(greedy)


def test_repeat_penalty_reaches_the_prompt(server: RunningServer) -> None:
    echo = "Repeat exactly: banana banana banana banana"
    assert answer(server, echo, repeat_penalty=1.8, max_tokens=24).count("banana") < answer(
        server, echo, max_tokens=24
    ).count("banana")


def test_max_tokens_is_the_most_tokens(server: RunningServer) -> None:
    completion = server.chat.CreateChatCompletion(ask(STORY, max_tokens=5))
    assert completion.usage.completion_tokens == 5
    assert completion.choices[0].finish_reason == chat_pb2.FINISH_REASON_LENGTH


def test_the_models_own_end_is_a_stop(server: RunningServer) -> None:
    end = tokenizer_pb2.TokenizeRequest(
        model="smollm2", text="<|im_end|>", add_special=False, parse_special=True
    )
    (end_token,) = server.tokenizer.Tokenize(end).tokens
    completion = server.chat.CreateChatCompletion(ask(STORY, logit_bias={end_token: 100}))
    assert completion.choices[0].message.content == ""
    assert completion.choices[0].finish_reason == chat_pb2.FINISH_REASON_STOP
    assert completion.usage.completion_tokens == 1


@pytest.mark.parametrize("streamed", [False, True])
def test_a_stop_string_is_never_seen_not_even_in_part(server: RunningServer, streamed: bool) -> None:
    whole = answer(server, max_tokens=40)
    stop = whole[20:27]  # across tokens, most likely
    request = ask(STORY, max_tokens=40, stop=["\x00never", stop])
    if streamed:
        chunks = list(server.chat.StreamChatCompletion(request))
        text = "".join(choice.delta.content for chunk in chunks for choice in chunk.choices)
        reason = chunks[-1].choices[0].finish_reason
    else:
        choice = server.chat.CreateChatCompletion(request).choices[0]
        text, reason = choice.message.content, choice.finish_reason
    assert text == whole[: whole.index(stop)]
    assert reason == chat_pb2.FINISH_REASON_STOP


def test_a_stop_token_ends_the_answer(server: RunningServer) -> None:
    whole = answer(server, max_tokens=12)
    third = tokens(server, whole)[3]
    completion = server.chat.CreateChatCompletion(ask(STORY, max_tokens=12, stop_token_ids=[third]))
    assert whole.startswith(completion.choices[0].message.content)
    assert completion.usage.completion_tokens <= 4
    assert completion.choices[0].finish_reason == chat_pb2.FINISH_REASON_STOP


def test_characters_of_several_tokens_arrive_whole(server: RunningServer) -> None:
    pieces = tokens(server, "🦊")
    assert len(pieces) > 1, "the test needs a character that the model spells with several tokens"
    request = ask("Say: 🦊", max_tokens=30, logit_bias=dict.fromkeys(pieces, 25.0))
    for chunk in server.chat.StreamChatCompletion(request):
        for choice in chunk.choices:
            choice.delta.content.encode("utf-8")
    last = [c.delta.content for c in server.chat.StreamChatCompletion(request) for c in c.choices]
    assert all("�" not in text for text in last[:-2])


def test_usage_and_timings_are_on_the_last_chunk_and_only_there(server: RunningServer) -> None:
    *others, last = server.chat.StreamChatCompletion(ask(STORY, n=2))
    assert not any(chunk.HasField("usage") or chunk.HasField("timings") for chunk in others)
    usage, timings = last.usage, last.timings
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.completion_tokens == 32
    assert usage.prompt_cache_hit_tokens + usage.prompt_cache_miss_tokens == usage.prompt_tokens
    assert usage.prompt_tokens_details.cached_tokens == usage.prompt_cache_hit_tokens
    spent = [timings.queue, timings.prompt, timings.first_token, timings.generation]
    assert all(duration.ToNanoseconds() > 0 for duration in spent)
    assert timings.first_token.ToNanoseconds() >= timings.prompt.ToNanoseconds()
    assert timings.model_load.ToNanoseconds() == 0, "it was loaded already"
