"""What is guessed from the text so far and from a prediction, and when guessing stops."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from sampling import GREEDY

from llamawire_server.engine.drafting.prompt_lookup import PromptLookup
from llamawire_server.engine.sequence import Sequence


def test_what_followed_the_same_tokens_the_last_time_is_guessed() -> None:
    lookup = PromptLookup()
    tokens = [1, 2, 3, 4, 5, 9, 1, 2, 3, 6, 7, 8, 1, 2, 3]
    assert lookup.draft(tokens, 8) == [6, 7, 8, 1]
    assert lookup.draft(tokens, 2) == [6, 7]
    assert lookup.draft([*tokens, 4], 8) == [5, 9, 1, 2]


def test_guesses_grow_as_long_as_they_are_right() -> None:
    lookup, tokens = PromptLookup(), list(range(40)) * 2
    lengths = []
    for num_wrong in (0, 0, 0, 0, 1, 0):
        ahead = lookup.draft(tokens[:43], 32)
        lengths.append(len(ahead))
        lookup.note(len(ahead), len(ahead) - num_wrong, 43)
    assert lengths == [4, 4, 8, 16, 32, 4]


def test_nothing_is_guessed_of_what_never_was() -> None:
    lookup = PromptLookup()
    assert lookup.draft([1, 2], 8) == []
    assert lookup.draft([1, 2, 3, 4, 5, 6], 8) == []
    assert lookup.draft([1, 2, 3], 8) == [], "the last tokens come after nothing but themselves"
    assert PromptLookup(looks_back=False).draft([1, 2, 3, 1, 2, 3], 8) == []


def answer(lookup: PromptLookup, tokens: list[int], new: list[int]) -> None:
    for token in new:
        tokens.append(token)
        lookup.follow(tokens, 1)


def test_a_prediction_is_guessed_from_its_beginning_and_found_again_after_a_change() -> None:
    prediction = list(range(100, 120))
    lookup, tokens = PromptLookup(prediction), [1, 2, 3]
    assert lookup.draft(tokens, 4) == [100, 101, 102, 103]
    answer(lookup, tokens, [100, 101])
    assert lookup.draft(tokens, 4) == [102, 103, 104, 105]
    answer(lookup, tokens, [7, 8])
    assert lookup.draft(tokens, 4) == []
    answer(lookup, tokens, [105, 106, 107])
    assert lookup.draft(tokens, 4) == [108, 109, 110, 111]
    answer(lookup, tokens, prediction[8:])
    assert lookup.draft(tokens, 4) == [], "nothing is left of it"
    assert lookup.num_predicted_tokens == 2 + 12


def test_a_prediction_that_repeats_itself_is_followed_forward() -> None:
    prediction = [1, 2, 3, 50, 1, 2, 3, 60, 1, 2, 3, 70]
    lookup, tokens = PromptLookup(prediction), [0]
    answer(lookup, tokens, [1, 2, 3, 9, 1, 2, 3])
    assert lookup.draft(tokens, 1) == [60]


def test_who_predicts_is_believed_and_who_repeats_has_to_show_it() -> None:
    assert PromptLookup([5, 6, 7]).acceptance > 0.8
    assert PromptLookup().acceptance < 0.5
    wrong = PromptLookup([5, 6, 7])
    wrong.note(8, 0, 100)
    assert wrong.acceptance < 0.5


def test_a_guess_that_is_not_computed_is_compared_with_what_comes() -> None:
    lookup, tokens = PromptLookup(), [1, 2, 3]
    before = lookup.acceptance
    lookup.watch([4, 5, 6, 7, 8])
    answer(lookup, tokens, [4, 5, 6])
    assert lookup.acceptance == before
    lookup.watch([9])
    answer(lookup, tokens, [7])
    shown = lookup.acceptance
    assert shown > 0.8
    answer(lookup, tokens, [9, 9, 9])
    assert lookup.acceptance == shown, "nothing was watched"
    lookup.watch([1, 2, 3, 4])
    answer(lookup, tokens, [1, 9])
    lookup.watch([1, 2])
    answer(lookup, tokens, [9, 1])
    assert lookup.acceptance < shown


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), max_size=8))
def test_watching_a_guess_says_what_computing_it_would_have_said(guesses: list[tuple[int, int]]) -> None:
    watching, computing, tokens = PromptLookup(), PromptLookup(), [0]
    for length, num_right in guesses:
        ahead = list(range(10, 10 + length))
        watched = min(length, 4)
        watching.watch(ahead)
        answer(watching, tokens, [*ahead[:num_right], 1])
        computing.note(watched, min(num_right, watched), len(tokens))
        assert watching.acceptance == computing.acceptance


def test_what_was_predicted_beyond_the_end_of_the_answer_is_no_part_of_it() -> None:
    lookup, tokens = PromptLookup([5, 6, 7, 8]), [1, 2]
    answer(lookup, tokens, [5, 6, 7, 8, 9])
    assert lookup.num_predicted_tokens == 4
    lookup.end(5)
    assert lookup.num_predicted_tokens == 3
    lookup.end(5)
    assert lookup.num_predicted_tokens == 3


def test_what_was_guessed_right_beyond_the_end_of_the_answer_counts_as_rejected() -> None:
    one = Sequence(1, 0, [1, 2], 2, 10, GREEDY)
    one.note_draft(5, 4)
    one.tokens += [5, 6, 7]
    for _ in range(2):
        one.settle()
        assert (one.num_accepted_draft_tokens, one.num_rejected_draft_tokens) == (3, 2)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=60), st.integers(1, 8))
def test_a_guess_is_a_run_that_came_after_the_same_three_tokens(tokens: list[int], most: int) -> None:
    lookup = PromptLookup()
    for length in range(1, len(tokens) + 1):
        guess = lookup.draft(tokens[:length], most)
        assert len(guess) <= most
        if guess:
            run = [*tokens[length - 3 : length], *guess]
            assert any(tokens[at : at + len(run)] == run for at in range(length - 3))
