"""What a model is said to take of main memory before it is loaded."""

from __future__ import annotations

import struct
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamawire_server.config import ModelSettings
from llamawire_server.gguf.metadata import GGUFMetadata, read_gguf
from llamawire_server.gguf.shape import ModelShape
from llamawire_server.pool.memory import estimate_memory

MEBIBYTE = 1024**2

LLAMA_8B = GGUFMetadata(
    path=Path("/models/llama-8b.gguf"),
    kind="model",
    architecture="llama",
    display_name="Llama 8B",
    quantization="Q4_K_M",
    num_parameters=8_030_000_000,
    file_size_bytes=4_920_000_000,
    training_context_length=131_072,
    vocabulary_size=128_256,
    chat_template=None,
    modified_ns=1,
    weights_bytes=4_912_000_000,
    shape=ModelShape(
        embedding_length=4096,
        attention_width=4096,
        feed_forward_width=14_336,
        cache_elements=32 * 8 * 2 * 128,
    ),
)


def test_a_common_model_takes_its_weights_its_cache_and_a_few_hundred_mebibytes() -> None:
    cache_bytes = 16_384 * LLAMA_8B.shape.cache_elements * 2
    assert cache_bytes == 2048 * MEBIBYTE
    rest = (
        estimate_memory(LLAMA_8B, ModelSettings()) - LLAMA_8B.weights_bytes - cache_bytes - cache_bytes // 8
    )
    assert 200 * MEBIBYTE < rest < 400 * MEBIBYTE


def test_a_file_that_tells_no_sizes_takes_its_weights_and_a_process() -> None:
    unknown = replace(LLAMA_8B, shape=ModelShape(), vocabulary_size=0)
    rest = estimate_memory(unknown, ModelSettings()) - LLAMA_8B.weights_bytes
    assert 40 * MEBIBYTE < rest < 100 * MEBIBYTE


def test_each_token_of_the_cache_takes_its_keys_and_values_and_its_share_of_a_mask() -> None:
    few = estimate_memory(LLAMA_8B, ModelSettings(context_length=4096, kv_cache_tokens=8192 - 256))
    more = estimate_memory(LLAMA_8B, ModelSettings(context_length=4096, kv_cache_tokens=8192))
    assert more - few == (256 + 32) * LLAMA_8B.shape.cache_elements * 2 + 256 * 512 * 2
    one_more = ModelSettings(context_length=4096, kv_cache_tokens=8192 - 255)
    assert estimate_memory(LLAMA_8B, one_more) < more


def test_each_sequence_of_a_recurrent_model_takes_its_state_and_that_of_one_that_has_ended() -> None:
    recurrent = replace(LLAMA_8B, shape=replace(LLAMA_8B.shape, state_elements=1_000_000))
    two, three = (estimate_memory(recurrent, ModelSettings(parallel=n)) for n in (2, 3))
    assert three - two == (2 * 1_000_000 + 3 * 128_256) * 4


def test_a_draft_model_takes_its_weights_and_as_many_tokens_of_cache() -> None:
    small = replace(LLAMA_8B, weights_bytes=10**9, shape=replace(LLAMA_8B.shape, cache_elements=1000))
    with_draft = estimate_memory(LLAMA_8B, ModelSettings(), small)
    rest = with_draft - estimate_memory(LLAMA_8B, ModelSettings()) - 10**9 - 16_384 * 1000 * 2
    assert 100 * MEBIBYTE < rest < 250 * MEBIBYTE, "its steps and its vocabulary, and no process of its own"
    recurrent = replace(LLAMA_8B, shape=replace(LLAMA_8B.shape, state_elements=1_000_000))
    alone, beside = (estimate_memory(recurrent, ModelSettings(), draft) for draft in (None, small))
    assert beside == alone, "it is of no use there, and not loaded"


def test_the_parts_of_a_step_do_not_grow_beyond_the_context() -> None:
    short = estimate_memory(LLAMA_8B, ModelSettings(parallel=1, context_length=256))
    longer = estimate_memory(LLAMA_8B, ModelSettings(parallel=1, context_length=512))
    longest = estimate_memory(LLAMA_8B, ModelSettings(parallel=1, context_length=768))
    assert longer - short > 2 * (longest - longer)


WHOLE = st.integers(0, 2**80)


@given(
    shape=st.builds(ModelShape, **{field.name: WHOLE for field in fields(ModelShape)}),
    counts=st.tuples(WHOLE, WHOLE, WHOLE),
    settings=st.builds(
        ModelSettings,
        context_length=st.none() | st.integers(1, 2**31),
        kv_cache_tokens=st.none() | st.integers(1, 2**31),
        parallel=st.integers(1, 256),
    ),
)
def test_whatever_a_header_says_the_estimate_can_be_sent(
    shape: ModelShape, counts: tuple[int, int, int], settings: ModelSettings
) -> None:
    weights_bytes, trained, vocabulary_size = counts
    metadata = replace(
        LLAMA_8B,
        shape=shape,
        weights_bytes=weights_bytes,
        training_context_length=trained,
        vocabulary_size=vocabulary_size,
    )
    estimate = estimate_memory(metadata, settings)
    assert min(weights_bytes, 2**60) <= estimate <= 2**60


SIZES = (
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "vocab_size",
    "attention.head_count",
    "attention.key_length",
    "attention.value_length",
    "ssm.conv_kernel",
    "ssm.inner_size",
    "ssm.state_size",
    "ssm.group_count",
)


@pytest.mark.parametrize("number", [0, 1, 2**16, 2**31, 2**32 - 1])
def test_a_header_full_of_the_same_number_is_read_and_estimated(tmp_path, tiny_gguf, tensor, number) -> None:
    keys = {f"llama.{name}": struct.pack("<II", 4, number) for name in SIZES}
    path = tmp_path / "nonsense.gguf"
    path.write_bytes(tiny_gguf(keys, [tensor("blk.0.ssm_in.weight", (64,))]).packed())

    estimate = estimate_memory(read_gguf(path), ModelSettings())

    assert 256 < estimate <= 2**60


def test_an_encoder_keeps_nothing_of_what_it_computed() -> None:
    bert = replace(LLAMA_8B, architecture="bert", training_context_length=512, is_encoder=True)
    longer = estimate_memory(bert, ModelSettings(kv_cache_tokens=100_000))
    assert longer == estimate_memory(bert, ModelSettings())
    assert longer - LLAMA_8B.weights_bytes < 300 * MEBIBYTE
