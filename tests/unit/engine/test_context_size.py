"""How large a context is made."""

from __future__ import annotations

import pytest

from llamawire_server.config import ModelSettings
from llamawire_server.engine.context_size import context_limits, embedding_limits, idle_tokens
from llamawire_server.engine.step import Limits


@pytest.mark.parametrize(
    ("settings", "trained", "expected"),
    [
        (ModelSettings(), 2048, Limits(8, 4096, 2048, 512, 32, 512)),
        (ModelSettings(), 131_072, Limits(8, 16_384, 8192, 512, 64, 2048)),
        (ModelSettings(), 0, Limits(8, 16_384, 8192, 512, 64, 2048)),
        (ModelSettings(parallel=1), 2048, Limits(1, 2048, 2048, 512, 32, 256)),
        (ModelSettings(parallel=1024), 2048, Limits(1024, 4096, 2048, 1024, 0, 0)),
        (ModelSettings(context_length=32_768), 2048, Limits(8, 65_536, 32_768, 512, 128, 8192)),
        (ModelSettings(kv_cache_tokens=10_000), 2048, Limits(8, 10_000, 2048, 512, 39, 1250)),
        (ModelSettings(kv_cache_tokens=100), 2048, Limits(8, 2048, 2048, 512, 32, 256)),
    ],
)
def test_what_is_not_set_follows_from_the_model(
    settings: ModelSettings, trained: int, expected: Limits
) -> None:
    assert context_limits(settings, trained) == expected


def test_recurrent_models_keep_fewer_sequences_and_only_whole_ones() -> None:
    limits = context_limits(ModelSettings(parallel=4), 2048, is_recurrent=True)
    assert (limits.num_all_slots, limits.shelf_tokens, limits.can_cut) == (8, 0, False)


def test_models_with_a_sliding_window_keep_whole_sequences_only() -> None:
    limits = context_limits(ModelSettings(parallel=4), 2048, is_windowed=True)
    assert (limits.num_all_slots, limits.shelf_tokens, limits.can_cut) == (36, 0, False)


def test_without_a_prompt_cache_no_room_is_made_for_one() -> None:
    limits = context_limits(ModelSettings(prompt_cache=False), 2048)
    assert (limits.num_all_slots, limits.shelf_tokens) == (8, 0)
    assert context_limits(ModelSettings(prompt_cache_tokens=5), 2048).shelf_tokens == 5
    assert context_limits(ModelSettings(parallel=256), 2048).num_all_slots == 256


def test_large_models_mind_idle_cells_less() -> None:
    small = idle_tokens(num_layers=30, num_heads=9, token_seconds=0.007)
    large = idle_tokens(num_layers=32, num_heads=32, token_seconds=0.25)
    assert small == 0
    assert 256 <= large <= 1024
    assert idle_tokens(num_layers=0, num_heads=0, token_seconds=0.0) == 0


def test_an_encoder_s_context_is_no_longer_than_its_positions() -> None:
    limits = context_limits(ModelSettings(context_length=4096), 512, is_encoder=True)
    assert limits == Limits(8, 512, 512, 512, can_cut=False)
    assert context_limits(ModelSettings(context_length=100), 512, is_encoder=True).context_length == 100
    assert context_limits(ModelSettings(), 32_768, is_encoder=True).context_length == 8192


def test_only_encoders_take_inputs_whole() -> None:
    encoder = embedding_limits(512, is_encoder=True, is_recurrent=False)
    assert (encoder.context_length, encoder.takes_parts) == (512, False)
    other = embedding_limits(8192, is_encoder=False, is_recurrent=False)
    assert (other.context_length, other.takes_parts) == (8192, True)
    recurrent = embedding_limits(8192, is_encoder=False, is_recurrent=True)
    assert recurrent.batch_inputs < other.batch_inputs
