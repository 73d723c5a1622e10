"""What guesses are worth, by how often they were right."""

from __future__ import annotations

import pytest

from llamawire_server.engine.drafting.track_record import TrackRecord


def test_what_was_seen_last_counts_most() -> None:
    record = TrackRecord()
    assert record.acceptance(0) == pytest.approx(0.9)
    for _ in range(20):
        record.note(4, 4, 100)
    assert record.acceptance(100) > 0.99
    for _ in range(20):
        record.note(4, 3, 100)
    assert record.acceptance(100) == pytest.approx(0.75, abs=0.01)


def test_what_follows_the_first_wrong_token_was_not_tried() -> None:
    short, long = TrackRecord(0.5), TrackRecord(0.5)
    short.note(4, 3, 100)
    long.note(32, 3, 100)
    assert short.acceptance(100) == long.acceptance(100) > 0.5


def test_bad_guesses_stop_for_ever_longer_and_good_ones_begin_again() -> None:
    record = TrackRecord()
    pauses, now = [], 100
    for _ in range(7):
        assert record.acceptance(now) > 0.5
        begun = now
        while record.acceptance(now):
            record.note(4, 0, now)
        while not record.acceptance(now):
            now += 1
        pauses.append(now - begun)
    assert pauses == [16, 32, 64, 128, 256, 512, 512]
    record.note(4, 4, now)
    record.note(8, 1, now)
    assert record.acceptance(now) > 0, "one mistake after so much that was right"
    for _ in range(9):
        record.note(8, 0, now)
    assert record.acceptance(now) == 0
    assert record.acceptance(now + 512) > 0
