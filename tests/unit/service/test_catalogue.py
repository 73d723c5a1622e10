"""A model as ModelService tells of it, wherever it stands."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llamawire.v1 import model_pb2
from llamawire_server.config import ModelSettings
from llamawire_server.models.resolver import ModelEntry
from llamawire_server.pool.pool import ModelStatus, State
from llamawire_server.service.catalogue import describe

CHAT = model_pb2.MODEL_CAPABILITY_CHAT


def test_a_model_that_was_never_loaded(entry: ModelEntry) -> None:
    model = describe(entry, None, None, 7)
    assert (model.name, list(model.aliases)) == ("a", ["b", "c"])
    assert (model.state, model.failure, model.active_requests) == (model_pb2.MODEL_STATE_UNLOADED, "", 0)
    assert model.created.seconds == 1_700_000_000
    facts = model.facts
    assert facts.memory_bytes == 7
    assert (facts.architecture, facts.display_name, facts.quantization) == ("llama", "Model A", "Q4_1")
    assert (facts.num_parameters, facts.file_size_bytes) == (135_000_000, 90_000_000)
    assert (facts.training_context_length, facts.vocabulary_size) == (8192, 49152)
    assert (facts.context_length, facts.parallel) == (0, 0), "not known before it is loaded"


@pytest.mark.parametrize("state", State)
def test_every_state_has_a_name(entry: ModelEntry, state: State) -> None:
    model = describe(entry, ModelStatus(entry, state), None, 7)
    assert model_pb2.ModelState.Name(model.state) == f"MODEL_STATE_{state.name}"


def test_a_loading_model_has_progress_and_a_loaded_one_its_limits(entry: ModelEntry, worker: Any) -> None:
    loading = describe(entry, ModelStatus(entry, State.LOADING, load_progress=0.5, num_requests=3), None, 7)
    assert (loading.load_progress, loading.active_requests) == (0.5, 3)
    status = ModelStatus(entry, State.READY, load_progress=1.0, num_requests=2, worker=worker)
    loaded = describe(entry, status, None, 7)
    assert (loaded.load_progress, loaded.active_requests) == (0, 2)
    facts = loaded.facts
    assert (facts.context_length, facts.parallel, facts.kv_cache_tokens) == (4096, 4, 8192)


def test_a_failure_is_told(entry: ModelEntry) -> None:
    model = describe(entry, None, "no tensors", 7)
    assert (model.state, model.failure) == (model_pb2.MODEL_STATE_FAILED, "no tensors")
    again = describe(entry, ModelStatus(entry, State.LOADING), "no tensors", 7)
    assert (again.state, again.failure) == (model_pb2.MODEL_STATE_LOADING, "no tensors")


def test_a_file_that_can_not_be_read_has_no_facts(entry: ModelEntry) -> None:
    model = describe(replace(entry, metadata=None), None, None, 7)
    assert model.name == "a"
    assert not model.HasField("facts")
    assert not model.HasField("created")


def test_a_chat_template_may_be_the_file_s_or_the_entry_s(entry: ModelEntry) -> None:
    assert entry.metadata is not None
    own = replace(entry, metadata=replace(entry.metadata, chat_template="x"))
    given = replace(entry, settings=ModelSettings(chat_template="x"))
    found = [describe(one, None, None, 7).facts for one in (entry, own, given)]
    assert [facts.has_chat_template for facts in found] == [False, True, True]
    assert [CHAT in facts.capabilities for facts in found] == [False, True, True]


def test_what_an_entry_says_of_itself_is_told(entry: ModelEntry) -> None:
    model = describe(entry, None, None, 7)
    assert (model.pinned, model.problem) == (False, "")
    changed = replace(entry, settings=ModelSettings(pinned=True), problem="models.yaml:3: no such key")
    model = describe(changed, None, None, 7)
    assert (model.pinned, model.problem) == (True, "models.yaml:3: no such key")


def test_why_a_model_does_not_stand_where_it_should_is_told(entry: ModelEntry) -> None:
    status = ModelStatus(entry, State.LOADING, detail="waits for room")
    assert describe(entry, status, None, 7).detail == "waits for room"
