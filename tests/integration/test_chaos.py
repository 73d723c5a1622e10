"""A short run of tests/chaos: troubles of every kind against three models under load."""

from __future__ import annotations

from pathlib import Path

import pytest
from model_files import make_model_files
from ordeal import Plan, run

SECONDS = 12.0
SEED = 1052
FEWEST_EQUAL = 20
FEWEST_KINDS = 5


def test_no_trouble_costs_anybody_an_answer(model_file: Path, tmp_path: Path) -> None:
    files = make_model_files(tmp_path, model_file)
    plan = Plan(SECONDS, SEED, files, tmp_path, 2, FEWEST_EQUAL, FEWEST_KINDS)
    outcome = run(plan)
    ledger = outcome.ledger
    if ledger.wrongs:
        pytest.fail("\n".join([*ledger.wrongs, outcome.log]))
    assert len({trouble.kind for trouble in ledger.troubles}) >= FEWEST_KINDS
    assert ledger.outcomes["equal"] >= FEWEST_EQUAL
