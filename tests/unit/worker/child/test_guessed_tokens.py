"""Requests whose steps bring several tokens: where they end, and what they are told to have cost."""

from __future__ import annotations

import time
from collections.abc import Mapping
from collections.abc import Sequence as SequenceOf

import pytest
from answer_plans import plans_of
from sampling import GREEDY

from llamawire_server.chat.template import ChatTemplate
from llamawire_server.engine.drafting.step_times import StepTimes
from llamawire_server.engine.engine import Engine
from llamawire_server.engine.sequence import Sequence
from llamawire_server.engine.step import Limits, Move, Sampled, Slice
from llamawire_server.worker.child.generations import Generations
from llamawire_server.worker.child.prompts import PromptBuilder, RequestError
from llamawire_server.worker.messages import (
    ChatPrompt,
    Completed,
    Event,
    Generate,
    TextDelta,
)
from llamawire_server.worker.progress import ChoiceProgress, Progress

END = 256
LIMITS = Limits(num_slots=4, kv_cache_tokens=400, context_length=200, batch_tokens=64)


class Bytes:
    """A vocabulary of the 256 bytes, and one end token, which is written as a line's end."""

    bos_text = ""
    longest_piece_bytes = 1

    def tokenize(
        self, text: str, *, add_special: bool, parse_special: bool, limit: int | None = None
    ) -> list[int]:
        return [END if byte == ord("\n") else byte for byte in text.encode()]

    def piece(self, token: int) -> bytes:
        return bytes([token]) if token < END else b""

    def named_piece(self, token: int) -> bytes:
        return self.piece(token) or b"<end>"

    def marked_pieces(self, markers: SequenceOf[str]) -> dict[int, bytes]:
        return {}


class SteadyTimes(StepTimes):
    """Every step takes as long as any other, whatever this machine does meanwhile: so guessing pays."""

    def observe(self, num_tokens: int, seconds: float) -> None:
        pass

    def seconds(self, num_tokens: int) -> float:
        return 1.0


class Teller:
    """A runner that tells a text by the token's place, and so can check drafts as llama.cpp does."""

    limits = LIMITS
    end_token_ids = frozenset({END})

    def __init__(self, *texts: str) -> None:
        self._texts = [[*text.encode(), END] for text in texts]
        self.num_steps = 0
        self.order: list[int] = []

    def run(self, slices: list[Slice]) -> Mapping[Sequence, Sampled]:
        self.num_steps += 1
        self.order += [piece.sequence.request_id for piece in slices]
        return {
            sequence: Sampled(self._sample(sequence, piece.draft))
            for piece in slices
            for sequence in piece.samples
        }

    def _sample(self, sequence: Sequence, draft: tuple[int, ...]) -> list[int]:
        at = sequence.num_output_tokens
        said = self._texts[sequence.index % len(self._texts)][at : at + len(draft) + 1]
        num_right = next((n for n, guess in enumerate(draft) if said[n : n + 1] != [guess]), len(draft))
        return said[: num_right + 1] or [END]

    def move(self, move: Move) -> None:
        pass

    def cut(self, slot: int, num_tokens: int) -> bool:
        return True

    def clear(self) -> None:
        raise AssertionError

    def forget(self, sequence: Sequence) -> None:
        pass


def generate(
    request_id: int = 1,
    content: str = "hi",
    *,
    prediction: str = "",
    stops: list[str] | None = None,
    n: int = 1,
    priority: int = 0,
    arrived: float | None = None,
    deadline: float | None = None,
    progress: Progress | None = None,
    max_tokens: int = 100,
) -> Generate:
    return Generate(
        request_id=request_id,
        arrived=time.monotonic() if arrived is None else arrived,
        arrived_at=time.time(),
        prompt=ChatPrompt([{"role": "user", "content": content}]),
        sampling=GREEDY,
        max_tokens=max_tokens,
        is_max_tokens_explicit=True,
        num_choices=n,
        stops=stops or [],
        stop_token_ids=[],
        priority=priority,
        deadline=deadline,
        prediction=prediction,
        progress=progress,
    )


def make(teller: Teller, *, max_queued_tokens: int = 1_000_000, looks_back: bool = True) -> Generations:
    prompts = PromptBuilder(Bytes(), ChatTemplate("{{ messages[0].content }}:"), LIMITS.context_length)
    engine = Engine(teller, token_seconds=1.0)
    engine._speculation.times = SteadyTimes(1.0)
    return Generations(
        engine,
        LIMITS,
        Bytes(),
        prompts,
        plans_of(Bytes()),
        max_queued_tokens=max_queued_tokens,
        looks_back=looks_back,
    )


def run(generations: Generations) -> list[Event]:
    events: list[Event] = []
    while generations.has_work:
        events += generations.schedule() + generations.run()
    return events


def deltas(events: list[Event], index: int = 0) -> list[TextDelta]:
    return [event for event in events if isinstance(event, TextDelta) and event.index == index]


def text(events: list[Event], index: int = 0) -> str:
    return "".join(delta.text for delta in deltas(events, index))


def tokens(events: list[Event], index: int = 0) -> list[int]:
    return [token for delta in deltas(events, index) for token in delta.tokens]


def completed(events: list[Event]) -> Completed:
    (last,) = (event for event in events if isinstance(event, Completed))
    return last


def prediction_counts(done: Completed) -> tuple[int, int]:
    return (done.num_accepted_prediction_tokens, done.num_rejected_prediction_tokens)


SENTENCE = "one two three four five six"


@pytest.mark.parametrize("prediction", [SENTENCE, "one two THREE four five six", "nothing of the kind", ""])
def test_a_prediction_changes_nothing_but_the_number_of_steps(prediction: str) -> None:
    teller = Teller(SENTENCE)
    generations = make(teller, looks_back=False)
    generations.start(generate(prediction=prediction))
    events = run(generations)
    assert text(events) == SENTENCE
    assert tokens(events) == [*SENTENCE.encode(), END]
    done = completed(events)
    assert done.num_completion_tokens == len(SENTENCE) + 1
    num_known = sum(prediction_counts(done))
    assert num_known == len(prediction), "each token of the prediction became part of the answer or did not"
    if prediction == SENTENCE:
        assert teller.num_steps < 6
        assert prediction_counts(done) == (len(SENTENCE), 0)
    # What was sampled is the first token, and one more after each draft; the others were guessed.
    assert done.num_accepted_draft_tokens == len(SENTENCE) + 1 - teller.num_steps


def test_without_anything_to_guess_from_there_are_no_drafts() -> None:
    teller = Teller(SENTENCE)
    generations = make(teller, looks_back=False)
    generations.start(generate())
    done = completed(run(generations))
    assert (done.num_accepted_draft_tokens, done.num_rejected_draft_tokens) == (0, 0)
    assert teller.num_steps == len(SENTENCE) + 1


def test_text_that_repeats_the_prompt_is_guessed_from_it() -> None:
    teller = Teller(SENTENCE)
    generations = make(teller)
    generations.start(generate(content=SENTENCE))
    events = run(generations)
    done = completed(events)
    assert text(events) == SENTENCE
    assert done.num_accepted_draft_tokens > 10
    assert prediction_counts(done) == (0, 0), "nobody predicted anything"


def test_a_stop_string_within_guessed_tokens_ends_the_answer_there() -> None:
    teller = Teller(SENTENCE)
    generations = make(teller, looks_back=False)
    generations.start(generate(prediction=SENTENCE, stops=["three"]))
    events = run(generations)
    said = b"one two three"
    assert max(len(delta.tokens) for delta in deltas(events)) > 1
    assert text(events) == "one two "
    assert tokens(events) == [*said]
    assert [delta.finish_reason for delta in deltas(events)][-1] == "stop"
    done = completed(events)
    assert done.num_completion_tokens == len(said)
    assert prediction_counts(done) == (len(said), len(SENTENCE) - len(said))
    assert done.num_accepted_draft_tokens < len(said), "what came after it is no part of the answer"
    assert not generations.has_work


def test_an_end_token_within_guessed_tokens_ends_the_answer_there() -> None:
    answer, prediction = "one two\nthree four", "one two\nthree four"
    teller = Teller(answer)
    teller._texts = [Bytes().tokenize(answer, add_special=False, parse_special=False)]
    generations = make(teller, looks_back=False)
    generations.start(generate(prediction=prediction))
    events = run(generations)
    assert text(events) == "one two"
    assert tokens(events) == [*b"one two", END]
    done = completed(events)
    assert done.num_completion_tokens == 8
    assert prediction_counts(done) == (8, len(prediction) - 8)
    assert done.num_accepted_draft_tokens <= 8


def test_a_limit_within_reach_of_guessed_tokens_is_kept() -> None:
    for limit in range(1, len(SENTENCE)):
        generations = make(Teller(SENTENCE))
        generations.start(generate(prediction=SENTENCE, max_tokens=limit))
        events = run(generations)
        assert text(events) == SENTENCE[:limit]
        assert completed(events).num_completion_tokens == limit
        assert prediction_counts(completed(events)) == (limit, len(SENTENCE) - limit)


def test_each_choice_follows_the_prediction_as_far_as_it_goes() -> None:
    generations = make(Teller(SENTENCE, "something else"), looks_back=False)
    generations.start(generate(prediction=SENTENCE, n=2))
    events = run(generations)
    assert [text(events, 0), text(events, 1)] == [SENTENCE, "something else"]
    accepted, rejected = prediction_counts(completed(events))
    assert accepted >= len(SENTENCE)
    assert accepted + rejected == 2 * len(SENTENCE)


def test_what_was_found_of_a_prompt_is_told() -> None:
    content = "a question that is long enough to be kept"
    generations = make(Teller("yes"))
    for request_id, num_cached in ((1, 0), (2, len(content))):
        generations.start(generate(request_id, content))
        done = completed(run(generations))
        assert (done.num_prompt_tokens, done.num_cached_tokens) == (len(content) + 1, num_cached)


def test_a_prediction_is_followed_where_an_answer_goes_on() -> None:
    begun = list(b"one two th")
    teller = Teller(SENTENCE)
    generations = make(teller, looks_back=False)
    generations.start(
        generate(
            prediction=SENTENCE, progress=Progress([ChoiceProgress(begun)], started=1.0, first_token=2.0)
        )
    )
    events = run(generations)
    assert "one two th" + text(events) == SENTENCE
    assert prediction_counts(completed(events)) == (len(SENTENCE), 0)
    assert teller.num_steps < 5


def first_steps(*requests: Generate) -> list[int]:
    """The requests in the order in which they got their turn, where one is answered at a time."""
    teller = Teller("yes")
    teller.limits = Limits(num_slots=1, kv_cache_tokens=400, context_length=200, batch_tokens=64)
    generations = make(teller)
    for request in requests:
        generations.start(request)
    run(generations)
    return list(dict.fromkeys(teller.order))


def test_a_priority_is_worth_ten_seconds_of_waiting() -> None:
    assert first_steps(generate(1, arrived=100.0), generate(2, arrived=101.0)) == [1, 2]
    assert first_steps(generate(1, arrived=100.0), generate(2, arrived=101.0, priority=-1)) == [2, 1]
    assert first_steps(generate(1, arrived=100.0), generate(2, arrived=111.0, priority=-1)) == [1, 2]
    assert first_steps(generate(1, arrived=100.0, priority=1), generate(2, arrived=109.0)) == [2, 1]
    assert first_steps(generate(1, arrived=100.0, priority=1), generate(2, arrived=111.0)) == [1, 2]


def test_who_was_taken_in_is_not_refused_where_it_goes_on() -> None:
    generations = make(Teller("yes"), max_queued_tokens=10)
    generations.start(generate(1, "a question"))
    with pytest.raises(RequestError) as caught:
        generations.start(generate(2, "another one"))
    assert caught.value.reason == "QUEUE_FULL"
    waited = Progress([ChoiceProgress([])], started=None, first_token=None)
    generations.start(generate(2, "another one", progress=waited))
    begun = Progress([ChoiceProgress(list(b"ye"))], started=1.0, first_token=2.0)
    generations.start(generate(3, "a third one", progress=begun))
    events = run(generations)
    said = {number: "".join(e.text for e in deltas(events) if e.request_id == number) for number in (1, 2, 3)}
    assert said == {1: "yes", 2: "yes", 3: "s"}
    queue_seconds = {e.request_id: e.queue_seconds for e in events if isinstance(e, Completed)}
    assert queue_seconds[2] >= 0


def test_a_deadline_that_can_not_be_met_is_refused_before_anything_is_taken_in() -> None:
    generations = make(Teller("yes"))
    generations._line.note_served(1000.0)
    for request_id in range(LIMITS.num_slots):
        generations.start(generate(request_id, f"question number {request_id}"))
    soon = time.monotonic() + 1
    with pytest.raises(RequestError) as caught:
        generations.start(generate(9, deadline=soon))
    assert caught.value.reason == "DEADLINE_UNREACHABLE"
    waited = Progress([ChoiceProgress([])], started=None, first_token=None)
    generations.start(generate(9, deadline=soon, progress=waited))
    generations.start(generate(10, deadline=time.monotonic() + 1e6))
    events = run(generations)
    assert {e.request_id for e in events if isinstance(e, Completed)} == {0, 1, 2, 3, 9, 10}
