"""The engine's step with a runner that fails."""

from __future__ import annotations

from collections.abc import Mapping

from draft_cells import DraftCells
from sampling import GREEDY

from llamawire_server.engine.budget import PromptBudget, StepTargets
from llamawire_server.engine.decode_errors import CacheFullError, DecodeError
from llamawire_server.engine.drafting.model import ModelDrafting
from llamawire_server.engine.engine import Engine
from llamawire_server.engine.sequence import FinishReason, Sequence
from llamawire_server.engine.step import Limits, Move, Sampled, Slice


def sequence(request_id: int, max_tokens: int = 3) -> Sequence:
    return Sequence(request_id, 0, [request_id] * 5, 5, max_tokens, GREEDY)


class FakeRunner:
    """Samples the sequence's request id; fails as told."""

    limits = Limits(num_slots=4, kv_cache_tokens=100, context_length=50, batch_tokens=64)
    end_token_ids = frozenset({99})

    def __init__(self) -> None:
        self.poisoned: set[Sequence] = set()
        self.full_once = False
        self.cuts: list[tuple[int, int]] = []
        self.forgotten: list[Sequence] = []

    def run(self, slices: list[Slice]) -> Mapping[Sequence, Sampled]:
        if self.full_once:
            self.full_once = False
            raise CacheFullError
        if any(piece.sequence in self.poisoned for piece in slices):
            raise DecodeError
        return {s: Sampled([s.request_id]) for piece in slices for s in piece.samples}

    def move(self, move: Move) -> None:
        pass

    def cut(self, slot: int, num_tokens: int) -> bool:
        self.cuts.append((slot, num_tokens))
        return True

    def clear(self) -> None:
        raise AssertionError

    def forget(self, sequence: Sequence) -> None:
        self.forgotten.append(sequence)


def test_a_failed_decode_fails_only_the_sequence_that_makes_it_fail() -> None:
    runner = FakeRunner()
    engine = Engine(runner)
    good, bad = sequence(1), sequence(2)
    engine.add([good])
    engine.add([bad])
    engine.run(engine.schedule())
    runner.poisoned.add(bad)
    outputs = engine.run(engine.schedule())
    assert [(o.sequence, o.tokens) for o in outputs] == [(good, [1]), (bad, [])]
    assert bad.finish_reason is FinishReason.FAILED
    assert {(0, 5), (1, 5)} <= set(runner.cuts), "what the failed batch stored is undone"
    engine.run(engine.schedule())
    assert good.finish_reason is FinishReason.LENGTH
    assert good.num_output_tokens == 3
    assert set(runner.forgotten) == {good, bad}


def test_a_full_cache_preempts_instead_of_failing() -> None:
    runner = FakeRunner()
    engine = Engine(runner)
    old, young = sequence(1), sequence(2)
    engine.add([old])
    engine.add([young])
    engine.run(engine.schedule())
    runner.full_once = True
    assert engine.run(engine.schedule()) == []
    while engine.has_work:
        engine.run(engine.schedule())
    assert [s.num_output_tokens for s in (old, young)] == [3, 3]
    assert young.finish_reason is FinishReason.LENGTH


def test_the_token_that_ends_a_sequence_is_no_text() -> None:
    runner = FakeRunner()
    engine = Engine(runner)
    engine.add([sequence(99)])
    (output,) = engine.run(engine.schedule())
    assert (output.tokens, output.text_tokens) == ([99], [])
    assert output.sequence.finish_reason is FinishReason.STOP


def test_a_sequence_that_is_ended_from_outside_computes_nothing_more() -> None:
    runner = FakeRunner()
    engine = Engine(runner)
    stopped = sequence(1)
    engine.add([stopped])
    engine.run(engine.schedule())
    engine.finish(stopped, FinishReason.STOP)
    assert engine.run(engine.schedule()) == []
    assert not engine.has_work
    assert runner.forgotten == [stopped]


def test_the_draft_model_guesses_and_learns_who_has_ended() -> None:
    class Forgetful(ModelDrafting):
        def forget(self, sequence: Sequence) -> None:
            super().forget(sequence)
            forgotten.append(sequence)

    forgotten: list[Sequence] = []
    runner = FakeRunner()
    cells = DraftCells(runner.limits, lambda held: 7)
    engine = Engine(runner, draft_model=Forgetful(cells, 1e-6, clock=cells.clock))
    short, long, stopped = sequence(1), sequence(2, max_tokens=40), sequence(3, max_tokens=40)
    for one in (short, long, stopped):
        engine.add([one])
    steps = [engine.schedule()]
    while stopped.num_output_tokens < 5:
        engine.run(steps[-1])
        steps.append(engine.schedule())
    assert forgotten == [short]
    assert any(piece.draft for step in steps for piece in step.slices)
    engine.finish(stopped, FinishReason.STOP)
    assert forgotten == [short, stopped]


def test_the_prompt_budget_follows_the_measured_speed() -> None:
    budget = PromptBudget(
        StepTargets(shared_seconds=0.1, alone_seconds=0.4), batch_tokens=512, token_seconds=0.002
    )
    for _ in range(50):
        budget.observe(200, seconds=0.2)  # 1 ms a token
    assert 90 <= budget.tokens(num_decoding=4) <= 100
    assert 390 <= budget.tokens(num_decoding=0) <= 400
    for _ in range(50):
        budget.observe(200, seconds=2)
    assert budget.tokens(num_decoding=1) == 64, "slices are worth their while"
    assert budget.tokens(num_decoding=1, is_wide=True) == 80, (
        "but take no more than eight times as long as wanted"
    )
    assert budget.tokens(num_decoding=0, is_wide=True) == 128
    for _ in range(50):
        budget.observe(200, seconds=20)
    assert budget.tokens(num_decoding=1) == 16, "progress is made on the slowest machine"
    for _ in range(50):
        num_tokens = budget.tokens(num_decoding=4) + 4
        budget.observe(num_tokens, seconds=num_tokens / 200, num_single=4)
    assert budget.tokens(num_decoding=1) == 64, "small steps are believed where there are no others"
    for _ in range(50):
        budget.observe(512, seconds=0.001)
    assert budget.tokens(num_decoding=1) == 512


def test_steps_of_a_few_tokens_say_nothing_about_prefill() -> None:
    budget = PromptBudget(StepTargets(), batch_tokens=512, token_seconds=0.002)
    before = budget.tokens(0)
    budget.observe(8, seconds=10)
    budget.observe(200, seconds=10, num_single=199)
    assert budget.tokens(0) == before
