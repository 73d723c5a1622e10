"""How many tokens are guessed, by what steps take."""

from __future__ import annotations

from sampling import GREEDY

from llamawire_server.engine.drafting.speculation import Speculation
from llamawire_server.engine.sequence import Sequence
from llamawire_server.engine.step import Draft


class Sure:
    """Always has something to guess."""

    def __init__(self, acceptance: float, num_known_tokens: int = 100) -> None:
        self._acceptance = acceptance
        self._num_known_tokens = num_known_tokens
        self.watched: list[list[int]] = []

    @property
    def acceptance(self) -> float:
        return self._acceptance

    def watch(self, ahead: list[int]) -> None:
        self.watched.append(ahead)

    def draft(self, tokens: list[int], most: int) -> list[int]:
        return [7] * min(most, self._num_known_tokens)

    def follow(self, tokens: list[int], num_new_tokens: int) -> None:
        raise AssertionError

    def note(self, num_drafted: int, num_accepted: int, num_tokens: int) -> None:
        raise AssertionError


def sequence(drafter: Sure | None) -> Sequence:
    return Sequence(1, 0, [1, 2, 3], 3, 100, GREEDY, drafter=drafter)


def speculation(further_token_seconds: float) -> Speculation:
    made = Speculation(1.0)
    for _ in range(60):
        for size in (1, 2, 4, 8, 16, 32, 63):
            made.times.observe(size, 1 + further_token_seconds * (size - 1))
    return made


def num_drafted(made: Speculation, acceptance: float, most: int = 50, num_step_tokens: int = 1) -> int:
    others = [(sequence(None), 0)] * (num_step_tokens - 1)
    return len(made.drafts([*others, (sequence(Sure(acceptance)), most)], 100)[-1].tokens)


def test_where_further_tokens_cost_little_much_is_guessed() -> None:
    assert num_drafted(speculation(0.01), 0.95) == 32
    assert num_drafted(speculation(0.01), 0.95, most=5) == 5
    assert 2 <= num_drafted(speculation(0.01), 0.5) <= 8


def test_where_each_token_costs_as_much_as_the_first_nothing_is_guessed() -> None:
    assert num_drafted(speculation(1.0), 1.0) == 0
    assert num_drafted(speculation(0.5), 0.5) == 0
    assert num_drafted(speculation(0.5), 0.98) > 0


def test_guesses_that_hold_up_many_others_do_not_pay() -> None:
    made = speculation(0.4)
    assert num_drafted(made, 0.9) > 0
    assert num_drafted(made, 0.9, num_step_tokens=20) == 0


def test_a_guess_that_does_not_pay_is_watched() -> None:
    doubtful, sure = Sure(0.1, num_known_tokens=3), Sure(0.9)
    drafts = speculation(0.2).drafts([(sequence(doubtful), 50), (sequence(sure), 50)], 100)
    assert (drafts[0].tokens, doubtful.watched, sure.watched) == ((), [[7, 7, 7]], [])
    assert drafts[1].tokens


def test_who_guesses_nothing_and_who_is_never_right_gets_no_draft() -> None:
    made = speculation(0.01)
    for drafter in (None, Sure(0.0), Sure(0.9, num_known_tokens=0)):
        assert made.drafts([(sequence(drafter), 50)], 100)[0].tokens == ()
    assert made.drafts([(sequence(Sure(0.9)), 0)], 100)[0].tokens == ()


def test_all_drafts_share_the_room_that_there_is() -> None:
    drafts = speculation(0.001).drafts([(sequence(Sure(0.99)), 50) for _ in range(3)], 40)
    assert [len(draft.tokens) for draft in drafts] == [32, 8, 0]


class Model:
    """A draft model that says what guessing takes, and guesses 9s."""

    def __init__(self, token_seconds: float, acceptance: float = 0.9) -> None:
        self.token_seconds = token_seconds
        self.asked: list[list[tuple[Sequence, int]]] = []
        self.num_rests = 0
        self.begun: list[Sequence] = []
        self.gone: list[Sequence] = []
        self._acceptance = acceptance

    def begin(self, sequences: list[Sequence]) -> None:
        self.begun = sequences

    def acceptance(self, sequence: Sequence) -> float:
        return self._acceptance

    def seconds(self, sequences: list[Sequence], length: int) -> float:
        return self.token_seconds * length

    def draft(self, wanted: list[tuple[Sequence, int]]) -> list[Draft]:
        self.asked.append(wanted)
        return [Draft((9,) * most) for _, most in wanted]

    def rest(self) -> None:
        self.num_rests += 1

    def forget(self, sequence: Sequence) -> None:
        self.gone.append(sequence)


def with_model(model: Model, further_token_seconds: float = 0.01) -> Speculation:
    made = Speculation(1.0, model)
    made.times = speculation(further_token_seconds).times
    return made


def test_the_model_guesses_for_all_together_who_have_no_guess_of_their_own() -> None:
    model = Model(0.01)
    sequences = [sequence(None), sequence(Sure(0.9)), sequence(Sure(0.0)), sequence(None)]
    drafts = with_model(model).drafts([(one, 3 if one is sequences[3] else 50) for one in sequences], 500)
    ((first, third, last),) = model.asked
    assert [first[0], third[0], last[0]] == [sequences[0], sequences[2], sequences[3]]
    assert first[1] == third[1] > last[1] == 3
    assert [set(draft.tokens) for draft in drafts] == [{9}, {7}, {9}, {9}]
    assert model.begun == sequences


def test_the_model_guesses_as_much_as_pays_with_the_time_that_it_takes() -> None:
    lengths = []
    for token_seconds in (0.0, 0.05, 0.3):
        model = Model(token_seconds)
        with_model(model).drafts([(sequence(None), 50)], 500)
        lengths.append(model.asked[0][0][1])
    assert lengths[0] > lengths[1] > lengths[2] > 0
    slow = Model(0.9)
    assert with_model(slow).drafts([(sequence(None), 50)], 500)[0].tokens == ()
    assert (slow.asked, slow.num_rests) == ([], 1)


def test_a_model_that_pauses_is_not_asked_and_one_without_room_neither() -> None:
    paused = Model(0.0, acceptance=0.0)
    assert with_model(paused).drafts([(sequence(None), 50)], 500) == [Draft()]
    crowded = Model(0.0)
    assert with_model(crowded).drafts([(sequence(None), 50), (sequence(None), 50)], 1) == [Draft(), Draft()]
    assert (paused.asked, crowded.asked, paused.num_rests, crowded.num_rests) == ([], [], 0, 0)


def test_the_room_is_shared_by_those_whom_the_model_guesses_for() -> None:
    model = Model(0.0)
    drafts = with_model(model).drafts([(sequence(None), 50) for _ in range(4)], 14)
    assert [len(draft.tokens) for draft in drafts] == [3, 3, 3, 3]


def test_the_model_learns_who_has_ended() -> None:
    model, one = Model(0.0), sequence(None)
    with_model(model).forget(one)
    assert model.gone == [one]
