"""Events that wait: what may join, and what stays where it is."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamawire_server.chat.tools import CallDelta
from llamawire_server.engine.logprobs import TokenLogprobs
from llamawire_server.worker.event_queue import EventQueue
from llamawire_server.worker.messages import Completed, Event, Logprob, Started, Taken, TextDelta
from llamawire_server.worker.token_counts import ChoiceCounts, PromptCounts

COMPLETED = Completed(1, 1, 0, 1, 0, 0, 0)
HELD = TokenLogprobs(7, -1.0, [(8, -0.5)])
PROMPT = PromptCounts(10, 4)


def queued(*events: Event) -> list[Event]:
    queue = EventQueue()
    for event in events:
        queue.put(event)
    return queue.take()


@pytest.mark.parametrize(
    ("put", "taken"),
    [
        ([TextDelta(1, 0, "a", [1, 2])], [TextDelta(1, 0, "a", [1, 2])]),
        (
            [TextDelta(1, 0, "a", [1]), TextDelta(1, 0, "", [2]), TextDelta(1, 0, "b", [3], "stop")],
            [TextDelta(1, 0, "ab", [1, 2, 3], "stop")],
        ),
        (
            [TextDelta(1, 0, "a", [1]), TextDelta(1, 0, "", [2], "stop", matched_stop="END")],
            [TextDelta(1, 0, "a", [1, 2], "stop", matched_stop="END")],
        ),
        (
            [
                TextDelta(1, 0, "", [1], reasoning="a"),
                TextDelta(1, 0, "b", [2], reasoning="c", logprobs=[Logprob(-1, b"b")]),
                TextDelta(1, 0, "d", [3], logprobs=[Logprob(-2, b"d")]),
            ],
            [
                TextDelta(
                    1, 0, "bd", [1, 2, 3], reasoning="ac", logprobs=[Logprob(-1, b"b"), Logprob(-2, b"d")]
                )
            ],
        ),
        (
            [
                TextDelta(1, 0, "", [1], calls=[CallDelta(0, "x", "f"), CallDelta(0, arguments="{")]),
                TextDelta(1, 0, "", [2], calls=[CallDelta(0, arguments="}"), CallDelta(1, "y", "g", "{")]),
                TextDelta(1, 0, "", [3], calls=[CallDelta(1, arguments="}")]),
            ],
            [
                TextDelta(
                    1, 0, "", [1, 2, 3], calls=[CallDelta(0, "x", "f", "{}"), CallDelta(1, "y", "g", "{}")]
                )
            ],
        ),
        (
            [TextDelta(1, 0, "a", [1]), TextDelta(1, 1, "x", [2]), TextDelta(1, 0, "b", [3]), COMPLETED],
            [TextDelta(1, 0, "ab", [1, 3]), TextDelta(1, 1, "x", [2]), COMPLETED],
        ),
        (
            [TextDelta(1, 0, "a", [1]), Taken(2), TextDelta(2, 0, "b", [1]), TextDelta(1, 0, "c", [2])],
            [TextDelta(1, 0, "ac", [1, 2]), Taken(2), TextDelta(2, 0, "b", [1])],
        ),
        # What is held back is what the last one says.
        (
            [TextDelta(1, 0, "a", [1], held=[HELD]), TextDelta(1, 0, "b", [2], held=[HELD] * 2)],
            [TextDelta(1, 0, "ab", [1, 2], held=[HELD] * 2)],
        ),
        (
            [TextDelta(1, 0, "a", [1], held=[HELD]), TextDelta(1, 0, "b", [2])],
            [TextDelta(1, 0, "ab", [1, 2])],
        ),
        # And so are the counts; the prompt is told of once.
        (
            [
                TextDelta(1, 0, "a", [1], counts=ChoiceCounts(1, 1), prompt_counts=PROMPT),
                TextDelta(1, 1, "x", [1], counts=ChoiceCounts(1, 0), prompt_counts=PROMPT),
                TextDelta(1, 0, "", [2, 3], counts=ChoiceCounts(3, 1)),
            ],
            [
                TextDelta(1, 0, "a", [1, 2, 3], counts=ChoiceCounts(3, 1), prompt_counts=PROMPT),
                TextDelta(1, 1, "x", [1], counts=ChoiceCounts(1, 0), prompt_counts=PROMPT),
            ],
        ),
        # Nothing gets before an event of its own request.
        (
            [TextDelta(1, 0, "a", [1]), Started(1, 0.5), TextDelta(1, 0, "b", [2])],
            [TextDelta(1, 0, "a", [1]), Started(1, 0.5), TextDelta(1, 0, "b", [2])],
        ),
    ],
)
def test_text_joins_the_text_of_its_choice_that_waits(put: list[Event], taken: list[Event]) -> None:
    assert queued(*put) == taken


def test_what_was_taken_is_not_added_to() -> None:
    queue = EventQueue()
    first, second = TextDelta(1, 0, "a", [1]), TextDelta(1, 0, "b", [2])
    queue.put(first)
    queue.put(second)
    queue.take()
    queue.put(second)
    assert queue.take() == [second]
    assert (first.tokens, len(queue)) == ([1], 0), "what is put stays as it is"


CALLS = st.builds(CallDelta, st.integers(0, 1), st.sampled_from(["", "id"]), st.just(""), st.text(max_size=2))
DELTAS = st.builds(
    TextDelta,
    st.integers(1, 3),
    st.integers(0, 1),
    st.text(max_size=3),
    st.lists(st.integers(0, 9), max_size=2),
    st.sampled_from(["", "stop"]),
    reasoning=st.text(max_size=2),
    calls=st.lists(CALLS, max_size=2),
    logprobs=st.lists(st.builds(Logprob, st.just(-1.0), st.binary(max_size=1)), max_size=2),
)
OTHERS = st.builds(Taken, st.integers(1, 3)) | st.builds(Started, st.integers(1, 3), st.just(0.5))


def written(call: CallDelta) -> str:
    """A call's delta, such that those of one call can be joined to one."""
    opening = f"|{call.index}:" if call.id else ""
    return opening + "".join(f"[{call.index}]{character}" for character in call.arguments)


@given(st.lists(st.none() | DELTAS | OTHERS, max_size=40))
def test_whenever_it_is_taken_every_request_has_all_that_it_had(events: list[Event | None]) -> None:
    """None: the reader takes what is there."""
    queue = EventQueue()
    put: dict[tuple[int, int], list[object]] = defaultdict(list)
    taken: dict[tuple[int, int], list[object]] = defaultdict(list)

    def note(story: dict[tuple[int, int], list[object]], event: Event) -> None:
        """A choice's story: its characters, its tokens' number in between, and its request's other events."""
        if isinstance(event, TextDelta):
            key = (event.request_id, event.index)
            texts = story[key]
            if not texts or not isinstance(texts[-1], tuple):
                texts.append(("", "", "", [], [], ""))
            text, reasoning, calls, tokens, logprobs, reason = texts.pop()  # type: ignore[misc]
            texts.append(
                (
                    text + event.text,
                    reasoning + event.reasoning,
                    calls + "".join(map(written, event.calls)),
                    tokens + event.tokens,
                    logprobs + event.logprobs,
                    event.finish_reason or reason,
                )
            )
        else:
            for index in (0, 1):
                story[event.request_id, index].append(event)

    for event in events:
        if event is None:
            for found in queue.take():
                note(taken, found)
        else:
            note(put, event)
            queue.put(event)
    for found in queue.take():
        note(taken, found)
    assert taken == put
