"""What a worker says of tokens while a request is on its way: who asks is told, whatever happens in between."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from scripted_worker import Script, choices_of, completed, generate, make, run, step

from llamawire_server.worker.messages import Completed, Event, TextDelta
from llamawire_server.worker.progress import Progress
from llamawire_server.worker.token_counts import ChoiceCounts, PromptCounts

TEXTS = ("the é first", "stöp no", "🙂 stop now")


def deltas_of(events: list[Event], index: int = 0) -> list[TextDelta]:
    return [event for event in events if isinstance(event, TextDelta) and event.index == index]


def test_nothing_is_counted_for_who_does_not_ask() -> None:
    generations = make(Script("hello"))
    generations.start(generate())
    events = run(generations)
    assert {(delta.counts, delta.prompt_counts) for delta in deltas_of(events)} == {(None, None)}
    encoded = msgspec.json.encode(events[0])
    assert b"counts" not in encoded, "nor does it take room"


def test_each_delta_says_how_many_there_are_and_the_first_one_how_long_the_prompt_is() -> None:
    generations = make(Script("hello", "é"))
    generations.start(generate(n=2, counts_tokens=True))
    events = run(generations)
    for index, num_tokens in ((0, 6), (1, 3)):
        deltas = deltas_of(events, index)
        assert [delta.counts for delta in deltas] == [ChoiceCounts(n + 1, 0) for n in range(num_tokens)]
        assert [delta.prompt_counts for delta in deltas] == [PromptCounts(4, 0)] + [None] * (num_tokens - 1)


def test_a_prompt_that_was_computed_before_is_told_so() -> None:
    generations = make(script := Script("hello"))
    generations.start(generate("x" * 40))
    run(generations)
    script.texts = Script("again").texts
    generations.start(generate("x" * 40, counts_tokens=True))
    events = run(generations)
    done = completed(events)
    assert done.num_cached_tokens > 0
    told = deltas_of(events)[0].prompt_counts
    assert told == PromptCounts(done.num_prompt_tokens, done.num_cached_tokens)


def test_reasoning_is_counted_on_the_way() -> None:
    generations = make(Script("<think>Hm.</think>Yes"), style="think")
    generations.start(generate(counts_tokens=True))
    events = run(generations)
    counts = [delta.counts.num_reasoning_tokens for delta in deltas_of(events) if delta.counts]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, completed(events).num_reasoning_tokens)
    assert counts[-1] == len("Hm.</think>")


def test_what_is_generated_behind_a_stop_string_does_not_count() -> None:
    generations = make(Script("one two three"))
    generations.start(generate(stops=["two"], counts_tokens=True))
    events = run(generations)
    assert deltas_of(events)[-1].counts == ChoiceCounts(7, 0)
    assert completed(events).num_completion_tokens == 7


@given(cut=st.integers(0, 40), n=st.integers(1, 3), max_tokens=st.integers(1, 20))
def test_who_goes_on_says_what_would_have_been_said(cut: int, n: int, max_tokens: int) -> None:
    request = generate(stops=["stop", "irs"], n=n, max_tokens=max_tokens, counts_tokens=True)
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
    choices = choices_of(before, n)
    # The prompt was found in the first worker's cache; in the second one's there is nothing.
    num_cached = 3 if any(choice.tokens for choice in choices) else None
    second = make(script)
    second.start(
        msgspec.structs.replace(request, progress=Progress(choices, 1.0, None, num_cached_tokens=num_cached))
    )
    after = run(second)

    for index in range(n):
        told = [delta.counts for delta in deltas_of(before + after, index)]
        assert told == [delta.counts for delta in deltas_of(expected, index)]
        prompts = [delta.prompt_counts for delta in deltas_of(before + after, index) if delta.prompt_counts]
        assert len(prompts) == 1, "a prompt is told of once"
        assert prompts[0].num_tokens == 4, "what was generated is no part of it"
    assert completed(after).num_cached_tokens == (num_cached or 0), "and what was told stays true"
