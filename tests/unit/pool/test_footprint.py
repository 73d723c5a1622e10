"""What a loaded model depends on, and what it is taken to need."""

from __future__ import annotations

import dataclasses

import pytest
from pool_fakes import METADATA, estimate, path_of, size

from llamawire_server.config import ModelSettings, SamplingDefaults
from llamawire_server.models.model_files import FileSignature, Reading
from llamawire_server.models.resolver import ModelEntry
from llamawire_server.pool.footprint import Footprints, estimate_entry, fingerprint, load_key
from llamawire_server.pool.memory import estimate_memory

ENTRY = ModelEntry("a", (), path_of("a"), ModelSettings(), METADATA)


def with_settings(**settings: object) -> ModelEntry:
    return dataclasses.replace(ENTRY, settings=dataclasses.replace(ENTRY.settings, **settings))  # type: ignore[arg-type]


STAY = [with_settings(keep_alive=5.0), with_settings(pinned=True), with_settings(preload=True)]
DEFAULTS = with_settings(defaults=SamplingDefaults(top_k=1))
OTHERS = [
    with_settings(context_length=64),
    with_settings(chat_template="x"),
    dataclasses.replace(ENTRY, metadata=dataclasses.replace(METADATA, modified_ns=2)),
    dataclasses.replace(ENTRY, metadata=dataclasses.replace(METADATA, file_size_bytes=2)),
]


@pytest.mark.parametrize("entry", STAY)
def test_how_long_a_model_stays_changes_neither_its_answers_nor_its_worker(entry: ModelEntry) -> None:
    assert fingerprint(entry) == fingerprint(ENTRY)
    assert load_key(entry) == load_key(ENTRY)


def test_another_file_in_the_same_place_needs_another_worker() -> None:
    first, second = (
        dataclasses.replace(ENTRY, signature=(FileSignature(inode, 256, 1, changed_ns),))
        for inode, changed_ns in ((1, 1), (2, 1))
    )
    assert load_key(first) != load_key(second)
    touched = dataclasses.replace(first, signature=(FileSignature(1, 256, 1, 5),))
    assert load_key(touched) == load_key(first), "who may read it is no part of it"


def test_another_draft_model_needs_another_worker_and_room_of_its_own() -> None:
    first, second, changed = (
        dataclasses.replace(
            with_settings(draft_model=path_of("draft")),
            draft=Reading(
                (FileSignature(inode, 256, 1, 1),), dataclasses.replace(METADATA, modified_ns=modified_ns)
            ),
        )
        for inode, modified_ns in ((1, 1), (2, 1), (1, 2))
    )
    assert len({load_key(entry) for entry in (ENTRY, first, second, changed)}) == 4
    assert estimate_entry(first) > estimate_entry(ENTRY)


def test_defaults_change_answers_and_no_worker() -> None:
    assert fingerprint(DEFAULTS) != fingerprint(ENTRY)
    assert load_key(DEFAULTS) == load_key(ENTRY)


@pytest.mark.parametrize("entry", OTHERS)
def test_the_file_and_its_settings_change_both(entry: ModelEntry) -> None:
    assert fingerprint(entry) != fingerprint(ENTRY)
    assert load_key(entry) != load_key(ENTRY)


def test_names_change_nothing() -> None:
    entry = dataclasses.replace(ENTRY, name="b", aliases=("a",))
    assert fingerprint(entry) == fingerprint(ENTRY)
    assert load_key(entry) == load_key(ENTRY)


def test_what_was_measured_counts_for_the_same_load_only() -> None:
    footprints = Footprints(estimate)
    entry, other = with_settings(kv_cache_tokens=10), with_settings(kv_cache_tokens=20)
    assert footprints.of(entry) == 10
    footprints.note(entry, 7)
    assert (footprints.of(entry), footprints.of(other)) == (7, 20)
    footprints.note(entry, 9)
    footprints.note(entry, 8)
    assert footprints.of(entry) == 9
    footprints.note(other, 1)
    assert (footprints.of(entry), footprints.of(other)) == (10, 1)
    footprints.note(entry, 3)
    assert footprints.of(entry) == 3


def test_the_estimate_is_made_of_the_file_and_its_settings() -> None:
    assert estimate_entry(ENTRY) == estimate_memory(METADATA, ENTRY.settings) > 0
    assert estimate_entry(dataclasses.replace(ENTRY, metadata=None)) == 0
    assert Footprints().of(ENTRY) == estimate_entry(ENTRY)
    assert estimate(dataclasses.replace(ENTRY, settings=size(5))) == 5
