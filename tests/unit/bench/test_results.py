"""Rounds and what is made of them."""

from __future__ import annotations

import json

from bench.goals import GOALS, Bound, Goal
from bench.results import Results
from bench.setups.setup import BARE_LOOP, GRPC, LLAMA_SERVER
from bench.tables import goal_lines, result_lines
from bench.workloads.memory import Memory


def filled() -> Results:
    results = Results()
    for number, (ours, bare) in enumerate([(10.0, 5.0), (9.0, 9.0), (30.0, 10.0)]):
        results.add("streams-8", GRPC, number, {"decode": ours})
        results.add("streams-8", BARE_LOOP, number, {"decode": bare})
    return results


def test_medians_are_over_the_rounds() -> None:
    assert filled().median("streams-8", GRPC, "decode") == 10.0


def test_ratios_are_taken_round_by_round() -> None:
    assert filled().ratio("streams-8", "decode", GRPC, BARE_LOOP) == 2.0


def test_a_round_that_one_side_lacks_has_no_part_in_a_ratio() -> None:
    results = filled()
    results.add("streams-8", GRPC, 3, {"decode": 1000.0})
    assert results.ratio("streams-8", "decode", GRPC, BARE_LOOP) == 2.0
    assert results.difference("streams-8", "decode", GRPC, BARE_LOOP) == 5.0


def test_what_was_not_measured_has_no_value() -> None:
    results = filled()
    assert results.median("streams-8", LLAMA_SERVER, "decode") is None
    assert results.ratio("streams-8", "decode", GRPC, LLAMA_SERVER) is None
    assert results.difference("streams-8", "decode", GRPC, LLAMA_SERVER) is None
    assert results.median("streams-8", GRPC, "first_token") is None


def test_results_survive_their_record() -> None:
    results = filled()
    again = Results.from_json(json.loads(json.dumps(results.as_json())))
    assert again.as_json() == results.as_json()
    assert again.ratio("streams-8", "decode", GRPC, BARE_LOOP) == 2.0


def test_every_goal_has_a_line_whatever_was_measured() -> None:
    for results in (Results(), filled()):
        assert len(list(goal_lines(results))) == len(GOALS) + 1


def test_the_worst_number_of_streams_counts() -> None:
    results = filled()
    results.add("streams-1", GRPC, 0, {"decode": 9.0})
    results.add("streams-1", BARE_LOOP, 0, {"decode": 10.0})
    (line,) = (line for line in goal_lines(results) if "bare loop, 1 to 16" in line)
    assert line.endswith("0.90  missed")


def test_goals_have_a_side() -> None:
    least = Goal("", Bound.AT_LEAST, 1.0, lambda results: None)
    most = Goal("", Bound.AT_MOST, 1.0, lambda results: None)
    assert least.is_met(1.0)
    assert most.is_met(1.0)
    assert least.is_met(2.0)
    assert not most.is_met(2.0)


def test_figures_are_shown_in_their_units() -> None:
    results = Results()
    results.add("memory", GRPC, 0, {"engine_pss": 3 * 2**20})
    results.add("memory", BARE_LOOP, 0, {"engine_pss": 2 * 2**20})
    lines = list(result_lines(results, [Memory()]))
    assert lines[2] == Memory.title
    assert lines[3].split() == [
        *("process", "with", "the", "model,", "PSS,", "MiB"),
        *("2.0", "3.0", "-", "-", "-", "1.50", "-", "-", "-"),
    ]
