"""Models that are discovered in the folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from llamawire_server.config import ModelSettings
from llamawire_server.errors import Condition
from llamawire_server.models import model_files


class TestFolder:
    @pytest.mark.parametrize("name", ["tiny-q4", "tiny model 1b", "gemma3", "Tiny-Q4:latest", "gemma3:1b"])
    def test_a_file_answers_to_its_stem_its_name_and_its_architecture(self, make_resolver, write_model, name):
        path = write_model("models/Tiny-Q4.gguf", "Gemma3", "Tiny Model 1B")

        entry = make_resolver().resolve(name)

        assert (entry.name, entry.aliases, entry.path) == ("tiny-q4", (), path.resolve())
        assert entry.settings == ModelSettings()

    def test_subfolders_are_searched(self, make_resolver, write_model):
        path = write_model("models/some/where/deep.gguf")

        assert make_resolver().resolve("deep").path == path.resolve()
        assert make_resolver().resolve("Some/Where/Deep").name == "deep"

    def test_other_files_are_passed_over(self, make_resolver, write_model, listed):
        for name in ("a.txt", "gguf", ".gguf", "..gguf", "b.gguf.part", "c.bin"):
            write_model(f"models/{name}")

        assert list(listed(make_resolver())) == ["."]  # a name, if an odd one

    def test_a_missing_folder_is_empty(self, make_resolver):
        assert make_resolver().entries() == []

    def test_a_new_file_is_found_by_the_next_call_and_a_gone_one_is_not(
        self, make_resolver, write_model, refusal, listed
    ):
        resolver = make_resolver()
        assert refusal(resolver, "a").reason == "MODEL_NOT_FOUND"

        path = write_model("models/sub/a.gguf")
        assert resolver.resolve("a").path == path.resolve()
        assert listed(resolver) == {"a": "a.gguf"}

        path.unlink()
        assert refusal(resolver, "a").reason == "MODEL_NOT_FOUND"
        assert listed(resolver) == {}

    def test_a_replaced_file_is_read_again(self, make_resolver, write_model, refusal):
        write_model("models/a.gguf", name="before")
        resolver = make_resolver()
        assert resolver.resolve("before").name == "a"

        write_model("models/a.gguf", name="afterwards")

        assert resolver.resolve("afterwards").name == "a"
        assert refusal(resolver, "before").reason == "MODEL_NOT_FOUND"

    def test_a_file_is_read_only_once_while_it_stays(self, make_resolver, write_model, monkeypatch):
        reads = []
        read_gguf = model_files.read_gguf
        monkeypatch.setattr(model_files, "read_gguf", lambda path: reads.append(path.name) or read_gguf(path))
        write_model("models/a.gguf")
        broken = write_model("models/b.gguf")
        broken.write_bytes(b"broken")
        resolver = make_resolver()

        for _ in range(3):
            resolver.resolve("a")
            resolver.resolve("llama")
            resolver.entries()

        assert sorted(reads) == ["a.gguf", "b.gguf"]


class TestAmbiguousNames:
    @pytest.mark.parametrize(
        ("places", "name", "candidates"),
        [
            (["x/same.gguf", "y/Same.gguf"], "same", "'x/same', 'y/same'"),
            (["a.gguf", "sub/b.gguf"], "same name", "'a', 'sub/b'"),
            (["a.gguf", "sub/b.gguf"], "llama", "'a', 'sub/b'"),
        ],
        ids=["stem", "general.name", "architecture"],
    )
    def test_several_files_at_one_level(self, make_resolver, write_model, places, name, candidates, refusal):
        for place in places:
            write_model(f"models/{place}", "llama", "Same Name")

        error = refusal(make_resolver(), name)

        assert error.condition is Condition.UNKNOWN_MODEL
        assert error.reason == "MODEL_AMBIGUOUS"
        assert error.resource == f"model/{name}"
        assert error.message == f"'{name}' may be any of several models: {candidates}; name one of them"

    def test_each_candidate_that_is_listed_can_be_named(self, make_resolver, write_model):
        paths = {place: write_model(f"models/{place}.gguf") for place in ("x/same", "y/same")}
        resolver = make_resolver()

        for place, path in paths.items():
            assert resolver.resolve(place).path == path.resolve()
        assert [entry.name for entry in resolver.entries()] == ["x/same", "y/same"]

    def test_only_the_first_candidates_are_listed(self, make_resolver, write_model, refusal):
        for number in range(13):
            write_model(f"models/{number:02}.gguf")

        message = refusal(make_resolver(), "llama").message

        assert "'00', '01'" in message
        assert "'09' and 3 more; name one of them" in message

    def test_an_earlier_level_decides(self, make_resolver, write_model):
        path = write_model("models/llama.gguf", "llama", "one")
        write_model("models/other.gguf", "llama", "llama")

        assert make_resolver().resolve("llama").path == path.resolve()

    def test_links_to_one_file_are_one_model(self, make_resolver, write_model, tmp_path):
        path = write_model("blobs/0123")
        for snapshot in ("one", "two"):
            link = tmp_path / "models" / snapshot / "Model.gguf"
            link.parent.mkdir(parents=True)
            link.symlink_to(path)

        entry = make_resolver().resolve("model")

        assert (entry.name, entry.path) == ("model", path.resolve())
        assert make_resolver().entries() == [entry]

    def test_a_stem_that_belongs_to_another_model_is_not_this_one_s_name(
        self, make_resolver, write_model, listed
    ):
        given = write_model("given.gguf")
        found = write_model("models/taken.gguf", "qwen3", "Real Name")
        resolver = make_resolver(yaml="taken: given.gguf\n")

        assert resolver.resolve("taken").path == given.resolve()
        assert resolver.resolve("qwen3").name == "real name"
        assert listed(resolver) == {"taken": "given.gguf", "real name": found.name}


class TestBrokenFilesInTheFolder:
    @pytest.fixture
    def broken(self, write_model):
        path = write_model("models/qwen3.gguf", "llama")
        path.write_bytes(path.read_bytes()[:-1])
        return path

    @pytest.mark.parametrize("name", ["qwen3", "QWEN3:4b"])
    def test_its_stem_tells_what_is_wrong(self, make_resolver, broken, name, refusal):
        error = refusal(make_resolver(), name)

        assert error.condition is Condition.ENGINE
        assert error.reason == "MODEL_FILE_INVALID"
        assert error.message == (
            f"the file of model 'qwen3' can't be used: {broken}: ends 1 bytes too early, "
            "in the weights of 'token_embd.weight'; was it downloaded to its end?"
        )

    def test_its_stem_does_not_fall_through_to_another_model(
        self, make_resolver, write_model, broken, refusal
    ):
        write_model("models/other.gguf", "qwen3", "qwen3")

        assert refusal(make_resolver(), "qwen3").reason == "MODEL_FILE_INVALID"

    def test_it_is_otherwise_ignored(self, make_resolver, write_model, broken, listed):
        good = write_model("models/sub/qwen3.gguf", "llama")
        resolver = make_resolver()

        assert resolver.resolve("qwen3").path == good.resolve()
        assert resolver.resolve("llama").path == good.resolve()
        assert listed(resolver) == {"qwen3": "qwen3.gguf"}

    def test_it_works_as_soon_as_it_is_mended(self, make_resolver, write_model, broken, refusal):
        resolver = make_resolver()
        assert refusal(resolver, "qwen3").reason == "MODEL_FILE_INVALID"

        write_model("models/qwen3.gguf", "llama")

        assert resolver.resolve("qwen3").path == broken.resolve()

    @pytest.mark.parametrize("kind", ["adapter", "mmproj", "imatrix"])
    def test_what_goes_with_a_model_is_no_model(self, make_resolver, write_model, kind, refusal, listed):
        write_model("models/good.gguf", "llama")
        write_model("models/extra.gguf", "llama", general__type=kind)
        resolver = make_resolver()

        assert resolver.resolve("llama").name == "good"
        assert list(listed(resolver)) == ["good"]
        assert kind in refusal(resolver, "extra").message

    @pytest.mark.skipif(sys.platform != "linux", reason="names of files are any bytes on Linux only")
    def test_a_file_whose_name_is_no_text(self, make_resolver, write_model, listed):
        write_model("models/good.gguf")
        write_model(os.fsdecode(b"models/bad\xff.gguf"))

        assert list(listed(make_resolver())) == ["good"]

    def test_folders_that_lead_in_circles(self, make_resolver, write_model, tmp_path, listed):
        path = write_model("models/sub/a.gguf")
        (tmp_path / "models" / "sub" / "up").symlink_to(tmp_path / "models")
        (tmp_path / "models" / "circle.gguf").symlink_to("circle.gguf")

        assert make_resolver().resolve("a").path == path.resolve()
        assert list(listed(make_resolver())) == ["a"]


class TestSplitModels:
    def write(self, write_model, place: str, num_parts: int = 2) -> list[Path]:
        return [
            write_model(
                f"{place}-{part + 1:05}-of-{num_parts:05}.gguf", split__no=part, split__count=num_parts
            )
            for part in range(num_parts)
        ]

    @pytest.mark.parametrize("name", ["big", "llama"])
    def test_only_the_first_part_is_a_candidate(self, make_resolver, write_model, name, listed):
        first, _ = self.write(write_model, "models/Big")

        entry = make_resolver().resolve(name)

        assert (entry.name, entry.path) == ("big", first.resolve())
        assert entry.metadata is not None
        assert entry.metadata.num_parameters == 128
        assert list(listed(make_resolver())) == ["big"]

    def test_other_parts_without_the_first_are_no_model(self, make_resolver, write_model, refusal):
        first, _ = self.write(write_model, "models/big")
        first.unlink()

        assert refusal(make_resolver(), "big").reason == "MODEL_NOT_FOUND"

    def test_a_part_that_is_missing_and_comes(self, make_resolver, write_model, refusal):
        _, second = self.write(write_model, "models/big")
        content = second.read_bytes()
        second.unlink()
        resolver = make_resolver()
        assert "part 2 of 2" in refusal(resolver, "big").message

        second.write_bytes(content)

        assert resolver.resolve("big").name == "big"

    def test_links_to_parts_keep_the_names_by_which_parts_find_each_other(
        self, make_resolver, write_model, tmp_path
    ):
        parts = self.write(write_model, "blobs/big")
        links = tmp_path / "models"
        links.mkdir()
        for number, part in enumerate(parts):
            blob = part.rename(part.with_name(f"blob{number}"))
            (links / part.name).symlink_to(blob)

        entry = make_resolver().resolve("big")

        assert entry.path == links.resolve() / "big-00001-of-00002.gguf"
