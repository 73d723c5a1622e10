"""A worker's requests with a runner and a vocabulary that need no model: text, stops, limits, counts."""

from __future__ import annotations

from collections import deque

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_worker import (
    END,
    LIMITS,
    Bytes,
    Script,
    completed,
    ends_of,
    generate,
    make,
    progress_of,
    run,
    step,
    text_of,
)

from llamawire_server.chat.template import ChatTemplate
from llamawire_server.worker.child.prompts import PromptBuilder, RequestError
from llamawire_server.worker.messages import (
    ChatPrompt,
    Completed,
    Event,
    Failed,
    Started,
    TextDelta,
)


def test_text_comes_as_it_is_made_and_the_count_at_the_end() -> None:
    generations = make(Script("hello"))
    generations.start(generate())
    events = run(generations)
    assert [e.text for e in events if isinstance(e, TextDelta)] == ["h", "e", "l", "l", "o", ""]
    assert [e.tokens for e in events if isinstance(e, TextDelta)] == [[t] for t in (*b"hello", END)]
    assert ends_of(events) == ["stop"]
    assert (completed(events).num_prompt_tokens, completed(events).num_completion_tokens) == (4, 6)


def test_a_character_is_sent_when_it_is_whole() -> None:
    generations = make(Script("é🙂"))
    generations.start(generate())
    assert [e.text for e in run(generations) if isinstance(e, TextDelta)] == ["", "é", "", "", "", "🙂", ""]


def test_a_stop_string_ends_the_choice_and_is_not_shown() -> None:
    script = Script("one two three")
    generations = make(script)
    generations.start(generate(stops=["two", "x"]))
    events = run(generations)
    assert text_of(events) == "one "
    assert ends_of(events) == ["stop"]
    assert [event.matched_stop for event in events if isinstance(event, TextDelta)][-1] == "two"
    assert completed(events).num_completion_tokens == 7, "what was generated counts, shown or not"
    assert bytes(list(script.texts[0])[:3]) == b" th", "nothing is generated after it"


def test_text_held_for_a_stop_string_is_not_lost_at_the_limit() -> None:
    """Failure 9 of other servers: at max_tokens, what was held back for a stop string is lost."""
    generations = make(Script("ab<st"))
    generations.start(generate(stops=["<stop>"], max_tokens=5))
    events = run(generations)
    assert text_of(events) == "ab<st"
    assert ends_of(events) == ["length"]


def test_half_a_character_is_not_lost_at_the_limit() -> None:
    generations = make(Script("aé"))
    generations.start(generate(max_tokens=2))
    assert text_of(run(generations)) == "a�"


def test_a_stop_string_completed_by_the_last_token_is_a_stop() -> None:
    generations = make(Script("ab##"))
    generations.start(generate(stops=["##"], max_tokens=4))
    events = run(generations)
    assert (text_of(events), ends_of(events)) == ("ab", ["stop"])


def test_a_stop_token_ends_the_choice_and_its_text_is_not_shown() -> None:
    generations = make(Script("abcd"))
    generations.start(generate(stop_token_ids=[ord("c")]))
    events = run(generations)
    assert (text_of(events), ends_of(events)) == ("ab", ["stop"])


def test_choices_go_their_own_ways() -> None:
    generations = make(Script("first", "second one"))
    generations.start(generate(n=2, stops=["ond"]))
    events = run(generations)
    assert [text_of(events, 0), text_of(events, 1)] == ["first", "sec"]
    assert completed(events).num_completion_tokens == 6 + 6
    assert completed(events).num_prompt_tokens == 4


def test_a_cancelled_request_says_nothing_more() -> None:
    generations = make(Script("hello"))
    generations.start(generate())
    assert step(generations) != []
    generations.cancel(1)
    generations.cancel(1)
    assert run(generations) == []


def test_a_request_that_fails_says_so_once_and_the_worker_goes_on() -> None:
    script = Script("hello", "hello")
    generations = make(script)
    generations.start(generate(n=2))
    step(generations)
    script.fails = True
    events = run(generations)
    assert [type(e) for e in events] == [Failed]
    assert isinstance(events[0], Failed)
    assert (events[0].condition, events[0].reason) == ("ENGINE", "DECODE_FAILED")
    script.fails = False
    script.texts = [deque([*b"again", END])]
    generations.start(generate())
    assert text_of(run(generations)) == "again"


def test_a_prompt_longer_than_the_context_says_both_lengths() -> None:
    generations = make(Script())
    with pytest.raises(RequestError, match=r"has 152 tokens; the model's context has 100") as caught:
        generations.start(generate("x" * 150))
    assert (caught.value.reason, caught.value.field) == ("CONTEXT_LENGTH_EXCEEDED", "messages")
    assert not generations.has_work


@pytest.mark.parametrize(
    ("template", "messages"),
    [
        ("{{ messages[0].content }}", [{"role": "user", "content": "x" * 2000}]),
        ("{{ messages[0].content }}", [{"role": "user", "content": "x" * 401}]),
        ("{{ raise_exception('not rendered') }}", [{"role": "user", "content": ""}] * 101),
    ],
    ids=["by its length", "by some of its tokens", "by its messages"],
)
def test_a_prompt_that_can_never_fit_is_refused_before_all_of_it_is_looked_at(
    template: str, messages: list[dict[str, str]]
) -> None:
    builder = PromptBuilder(Bytes(), ChatTemplate(template), LIMITS.context_length)
    with pytest.raises(RequestError, match=r"has \d+ tokens at least; the model's context has 100") as caught:
        builder.build(ChatPrompt(messages), now=0.0)
    assert caught.value.reason == "CONTEXT_LENGTH_EXCEEDED"


def test_a_limit_that_does_not_fit_is_an_error_only_where_it_was_asked_for() -> None:
    generations = make(Script("x" * 200))
    with pytest.raises(RequestError, match=r"max_tokens is 97 and the prompt has 4 tokens") as caught:
        generations.start(generate(max_tokens=97))
    assert caught.value.field == "max_tokens"
    generations.start(generate())
    events = run(generations)
    assert completed(events).num_completion_tokens == 96
    assert ends_of(events) == ["length"]


def test_a_template_that_writes_the_bos_token_gets_no_second_one() -> None:
    for template, prompt in (("^{{ messages[0].content }}", "^hi"), ("{{ messages[0].content }}", "^hi")):
        script = Script("x")
        generations = make(script, template)
        generations.start(generate())
        run(generations)
        assert script.prompts == {prompt}


def test_a_refusing_template_is_the_callers_mistake() -> None:
    with pytest.raises(RequestError, match="no such role") as caught:
        make(Script(), "{{ raise_exception('no such role') }}").start(generate())
    assert (caught.value.condition, caught.value.field) == ("INVALID", "messages")


def test_without_a_template_the_model_can_not_chat() -> None:
    with pytest.raises(RequestError, match="no chat template") as caught:
        make(Script(), None).start(generate())
    assert caught.value.condition == "UNSUPPORTED"


def test_a_request_says_when_it_begins() -> None:
    generations = make(Script("hello"))
    request = generate()
    generations.start(request)
    started, *_ = step(generations)
    assert isinstance(started, Started)
    assert started.at >= request.arrived


TEXTS = ("the é first", "stöp no", "🙂 stop now")


@given(cut=st.integers(0, 60), n=st.integers(1, 3), max_tokens=st.integers(1, 20))
def test_a_request_goes_on_anywhere_as_if_nothing_had_happened(cut: int, n: int, max_tokens: int) -> None:
    request = generate(stops=["stop", "irs"], n=n, max_tokens=max_tokens)
    undisturbed = make(Script(*TEXTS[:n]))
    undisturbed.start(request)
    expected = run(undisturbed)

    first = make(script := Script(*TEXTS[:n]))
    first.start(request)
    before: list[Event] = []
    for _ in range(cut):
        before += step(first)
    if any(isinstance(event, Completed) for event in before):
        return
    progress = progress_of(before, n)
    # The runner's script goes on where it was, which is what the model would say next.
    second = make(script)
    second.start(msgspec.structs.replace(request, progress=progress))
    after = run(second)

    for index in range(n):
        assert text_of(before + after, index) == text_of(expected, index)
    assert sorted(ends_of(before + after)) == sorted(ends_of(expected))
    assert completed(after).num_completion_tokens == completed(expected).num_completion_tokens
    assert completed(after).num_prompt_tokens == completed(expected).num_prompt_tokens
    assert not any(isinstance(event, Started) for event in step(second))
    if progress.first_token is not None:
        assert completed(after).prompt_seconds == 1.0


def test_a_prompt_that_tells_the_time_is_the_same_when_it_is_made_again() -> None:
    builder = PromptBuilder(Bytes(), ChatTemplate("{{ strftime_now('%s') }}"), LIMITS.context_length)
    prompt = ChatPrompt([{"role": "user", "content": "x"}])
    assert builder.build(prompt, now=1e9) == builder.build(prompt, now=1e9) != builder.build(prompt, now=2e9)
