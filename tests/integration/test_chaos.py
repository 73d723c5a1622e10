"""A short run of tests/chaos: troubles of every kind against three models under load."""

from __future__ import annotations

from pathlib import Path

import pytest
from model_files import make_model_files
from ordeal import Plan, run

SECONDS = 12.0
SEED = 1052


def test_no_trouble_costs_anybody_an_answer(model_file: Path, tmp_path: Path) -> None:
    plan = Plan(SECONDS, SEED, make_model_files(tmp_path, model_file), tmp_path, most_questions=2)
    outcome = run(plan)
    ledger = outcome.ledger
    if ledger.wrongs:
        pytest.fail("\n".join([*ledger.wrongs, outcome.log]))
    assert len({trouble.kind for trouble in ledger.troubles}) > 4
    assert ledger.outcomes["equal"] > 20
