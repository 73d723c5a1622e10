"""Sequences whose tokens may not be anything, from the queue to their end."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

import pytest
from constraints import Choices
from sampling import GREEDY

from llamawire_server.engine.constraint import ConstraintError
from llamawire_server.engine.decode_errors import DecodeError
from llamawire_server.engine.drafting.prompt_lookup import PromptLookup
from llamawire_server.engine.drafting.speculation import Speculation
from llamawire_server.engine.engine import Engine
from llamawire_server.engine.logprobs import TokenLogprobs
from llamawire_server.engine.sequence import FinishReason, Sequence
from llamawire_server.engine.step import Draft, Limits, Move, Sampled, Slice

END = 99


class MaskedRunner:
    """Samples the lowest token that may come, as far as a draft is right; fails as told."""

    limits = Limits(num_slots=4, kv_cache_tokens=400, context_length=100, batch_tokens=64)
    end_token_ids = frozenset({END})

    def __init__(self) -> None:
        self.num_failures = 0
        self.drafts: list[tuple[int, ...]] = []
        self.forgotten: list[Sequence] = []

    def run(self, slices: list[Slice]) -> Mapping[Sequence, Sampled]:
        sampled = {
            sequence: self._sample(sequence, piece.draft) for piece in slices for sequence in piece.samples
        }
        self.drafts += [piece.draft for piece in slices if piece.draft]
        if self.num_failures:
            self.num_failures -= 1
            raise DecodeError
        return sampled

    def _sample(self, sequence: Sequence, draft: tuple[int, ...]) -> Sampled:
        constraint = sequence.constraint
        assert isinstance(constraint, Choices)
        constraint.rewind(sequence.num_output_tokens)
        tokens: list[int] = []
        try:
            for guess in (*draft, None):
                mask = constraint.mask()
                tokens.append(next(token for token in range(100) if mask[token // 32] >> (token % 32) & 1))
                constraint.accept(tokens[-1])
                if tokens[-1] != guess or constraint.is_complete:
                    break
        except ConstraintError as error:
            return Sampled([], failure=str(error))
        return Sampled(tokens, [TokenLogprobs(token, -1.0, []) for token in tokens])

    def move(self, move: Move) -> None:
        pass

    def cut(self, slot: int, num_tokens: int) -> bool:
        return True

    def clear(self) -> None:
        raise AssertionError

    def forget(self, sequence: Sequence) -> None:
        self.forgotten.append(sequence)


def sequence(constraint: Choices, request_id: int = 1, index: int = 0, max_tokens: int = 50) -> Sequence:
    return Sequence(request_id, index, [1, 2, 3], 3, max_tokens, GREEDY, constraint=constraint)


def finish(engine: Engine) -> list[list[int]]:
    texts = []
    for _ in range(200):
        if not engine.has_work:
            return texts
        texts += [output.text_tokens for output in engine.run(engine.schedule())]
    raise AssertionError("it does not come to an end")


def test_where_all_is_said_only_an_end_token_comes_and_ends_it() -> None:
    engine = Engine(MaskedRunner())
    one = sequence(Choices([5, 6], [7, 8], end=END))
    engine.add([one])
    assert finish(engine) == [[5], [7], []]
    assert one.tokens[3:] == [5, 7, END]
    assert (one.finish_reason, one.ended_by_token) == (FinishReason.STOP, True)


@pytest.mark.parametrize("is_forced", [False, True])
def test_where_there_is_no_end_token_the_last_token_ends_it_and_is_text(is_forced: bool) -> None:
    engine = Engine(MaskedRunner())
    one = sequence(Choices([5, 6], *([[7], [8]] if is_forced else [[7, 70], [8, 80]])))
    engine.add([one])
    assert list(chain.from_iterable(finish(engine))) == [5, 7, 8]
    assert one.tokens[3:] == [5, 7, 8]
    assert (one.finish_reason, one.ended_by_token) == (FinishReason.STOP, False)


def test_a_limit_cuts_it() -> None:
    engine = Engine(MaskedRunner())
    one = sequence(Choices([5, 6], [7], [8], end=END), max_tokens=2)
    engine.add([one])
    assert list(chain.from_iterable(finish(engine))) == [5, 7]
    assert one.finish_reason is FinishReason.LENGTH


def test_what_is_forced_is_computed_together() -> None:
    runner = MaskedRunner()
    engine = Engine(runner)
    one = sequence(Choices([5, 6], [10], [11], [12], [7, 8], [13], [14], end=END))
    engine.add([one])
    assert finish(engine) == [[5], [10, 11, 12, 7], [13, 14]]
    assert runner.drafts == [(10, 11, 12), (13, 14)]
    assert one.tokens[3:] == [5, 10, 11, 12, 7, 13, 14, END]
    assert one.num_accepted_draft_tokens == 5


def test_a_constraint_that_fails_ends_its_own_sequence_and_no_other() -> None:
    runner = MaskedRunner()
    engine = Engine(runner)
    good, bad = sequence(Choices([5], [6], [7], end=END)), sequence(Choices([5, 6], [6, 7], fails_at=1), 2)
    engine.add([good])
    engine.add([bad])
    outputs = engine.run(engine.schedule())
    assert [(output.sequence, output.tokens) for output in outputs] == [(good, [5]), (bad, [5])]
    outputs = engine.run(engine.schedule())
    assert (bad, []) in [(output.sequence, output.tokens) for output in outputs]
    assert (bad.finish_reason, bad.failure) == (FinishReason.FAILED, "the grammar is too complex here")
    finish(engine)
    assert good.tokens[3:] == [5, 6, 7, END]
    assert (good.finish_reason, good.failure) == (FinishReason.STOP, "")
    assert set(runner.forgotten) == {good, bad}


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_choice_whose_constraint_fails_at_the_prompts_end_leaves_its_siblings(failing: int) -> None:
    engine = Engine(MaskedRunner())
    choices = [
        sequence(Choices([5 + index], [8], end=END, fails_at=0 if index == failing else None), index=index)
        for index in range(3)
    ]
    engine.add(choices)
    finish(engine)
    for index, choice in enumerate(choices):
        if index == failing:
            assert choice.finish_reason is FinishReason.FAILED
            assert choice.num_output_tokens == 0
        else:
            assert choice.tokens[3:] == [5 + index, 8, END]
    assert not engine.scheduler.num_running


def test_a_step_that_fails_half_way_changes_no_answer() -> None:
    runner = MaskedRunner()
    engine = Engine(runner)
    one = sequence(Choices([5, 6], [10], [11], [7, 8], [9], end=END))
    engine.add([one])
    engine.run(engine.schedule())
    runner.num_failures = 1
    finish(engine)
    assert one.tokens[3:] == [5, 10, 11, 7, 9, END]


def test_logprobs_are_those_of_the_tokens_that_were_taken() -> None:
    engine = Engine(MaskedRunner())
    one = sequence(Choices([5, 6], [10], [END], [12], end=END))
    engine.add([one])
    told = []
    while engine.has_work:
        for output in engine.run(engine.schedule()):
            assert [each.token for each in output.logprobs] == output.tokens
            told += output.tokens
    assert told == one.tokens[3:] == [5, 10, END]


def test_of_a_guess_only_what_may_come_is_tried() -> None:
    speculation = Speculation(1.0)
    for _ in range(50):
        for size in (1, 2, 4, 8, 16, 32, 63):
            speculation.times.observe(size, 1.0)
    history = [1, 2, 3, 4, 5, 6, 7, 1, 2, 3]

    def draft(constraint: Choices) -> Draft:
        one = Sequence(1, 0, history, 10, 50, GREEDY, drafter=PromptLookup(), constraint=constraint)
        return speculation.drafts([(one, 20)], 40)[0]

    assert draft(Choices([4, 9], [5, 9], [9, 8], [7, 9])).tokens == (4, 5)
    assert draft(Choices([9, 8], [5, 9])).tokens == ()
    assert draft(Choices([8], [9], [4, 5])).tokens == (8, 9), "what is forced needs no guess"
    assert draft(Choices([8], [9], [4, 5])).source is None


def test_a_model_whose_guess_may_not_come_learns_that_it_was_wrong() -> None:
    class Model:
        def __init__(self) -> None:
            self.noted: list[tuple[int, int, int]] = []

        def begin(self, sequences: list[Sequence]) -> None: ...
        def rest(self) -> None: ...
        def forget(self, sequence: Sequence) -> None: ...

        def acceptance(self, sequence: Sequence) -> float:
            return 0.99

        def seconds(self, sequences: list[Sequence], length: int) -> float:
            return 0.0

        def note(self, num_drafted: int, num_accepted: int, num_tokens: int) -> None:
            self.noted.append((num_drafted, num_accepted, num_tokens))

        def draft(self, wanted: list[tuple[Sequence, int]]) -> list[Draft]:
            return [Draft((4, 5, 6), self) for _ in wanted]

    model = Model()
    speculation = Speculation(1.0, model)
    for size in (1, 2, 4, 8, 16, 32, 63):
        speculation.times.observe(size, 1.0)
    wrong, right = sequence(Choices([7, 8])), sequence(Choices([4, 8], [5, 8], [1, 2]), 2)
    drafts = speculation.drafts([(wrong, 20), (right, 20)], 40)
    assert [each.tokens for each in drafts] == [(), (4, 5)]
    assert model.noted == [(3, 0, 3)]
