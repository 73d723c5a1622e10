"""How large a context is made."""

from __future__ import annotations

import pytest

from llamawire_server.config import ModelSettings
from llamawire_server.engine.context_size import context_limits
from llamawire_server.engine.step import Limits


@pytest.mark.parametrize(
    ("settings", "trained", "expected"),
    [
        (ModelSettings(), 2048, Limits(8, 4096, 2048, 512, 32)),
        (ModelSettings(), 131_072, Limits(8, 16_384, 8192, 512, 32)),
        (ModelSettings(), 0, Limits(8, 16_384, 8192, 512, 32)),
        (ModelSettings(parallel=1), 2048, Limits(1, 2048, 2048, 512, 32)),
        (ModelSettings(parallel=1024), 2048, Limits(1024, 4096, 2048, 1024, 0)),
        (ModelSettings(context_length=32_768), 2048, Limits(8, 65_536, 32_768, 512, 32)),
        (ModelSettings(kv_cache_tokens=10_000), 2048, Limits(8, 10_000, 2048, 512, 32)),
        (ModelSettings(kv_cache_tokens=100), 2048, Limits(8, 2048, 2048, 512, 32)),
    ],
)
def test_what_is_not_set_follows_from_the_model(
    settings: ModelSettings, trained: int, expected: Limits
) -> None:
    assert context_limits(settings, trained) == expected


def test_recurrent_models_keep_fewer_sequences_and_only_whole_ones() -> None:
    limits = context_limits(ModelSettings(parallel=4), 2048, is_recurrent=True)
    assert (limits.num_all_slots, limits.can_cut) == (8, False)
