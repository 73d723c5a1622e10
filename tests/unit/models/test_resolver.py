"""Which file a name leads to: the sources of names, the order among them, and what is listed."""

from __future__ import annotations

from pathlib import Path

import pytest

from llamawire_server.config import ModelSettings
from llamawire_server.errors import Condition
from llamawire_server.models.resolver import ModelEntry


class TestUnknownNames:
    def test_nothing_anywhere(self, make_resolver, refusal):
        error = refusal(make_resolver(), "qwen")

        assert error.condition is Condition.UNKNOWN_MODEL
        assert error.reason == "MODEL_NOT_FOUND"
        assert error.resource == "model/qwen"
        assert error.message == "no model is named 'qwen'"

    def test_near_names_are_suggested(self, make_resolver, write_model, refusal):
        write_model("models/qwen3-4b.gguf", "qwen3", "Four")
        write_model("models/qwen3-8b.gguf", "qwen3", "Eight")

        error = refusal(make_resolver(yaml="qwen3-1b: one.gguf\n"), "Qwen3-3b")

        assert error.message == (
            "no model is named 'qwen3-3b'; did you mean 'qwen3-8b', 'qwen3-4b' or 'qwen3-1b'?"
        )

    @pytest.mark.parametrize(
        "name", ["", "  ", ":", ":latest", "a:", "\0", "../../etc/passwd", "/etc/passwd"]
    )
    def test_odd_names(self, make_resolver, name, refusal):
        assert refusal(make_resolver(), name).reason == "MODEL_NOT_FOUND"

    def test_an_endless_name_is_cut_and_not_looked_for(self, make_resolver, write_model, refusal):
        write_model(f"models/{'a' * 200}.gguf")

        error = refusal(make_resolver(), "a" * 1_000_000)

        assert error.reason == "MODEL_NOT_FOUND"
        assert len(error.message) < 400
        assert len(error.resource) < 400


class TestOrderOfSources:
    """One name in four places: each source is asked when those before it don't know the name."""

    @pytest.fixture
    def everywhere(self, write_model):
        return {
            "command line": write_model("given/a.gguf"),
            "models.yaml": write_model("listed/b.gguf"),
            "stem": write_model("models/smollm2.gguf", "stem-architecture", "stem name"),
            "general.name": write_model("models/named.gguf", "name-architecture", " SmolLM2 "),
            "architecture": write_model("models/built.gguf", "smollm2", "architecture name"),
            "bundled": write_model("package/weights.gguf", "bundled-architecture", "bundled name"),
        }

    @pytest.mark.parametrize("num_missing", range(6))
    def test_the_first_source_that_knows_the_name_wins(self, everywhere, make_resolver, num_missing):
        sources = list(everywhere)[num_missing:]
        for source in everywhere.keys() - set(sources):
            everywhere[source].unlink()
        named = [("smollm2", everywhere["command line"])] if "command line" in sources else []
        yaml = "smollm2: listed/b.gguf\n" if "models.yaml" in sources else ""

        entry = make_resolver(*named, yaml=yaml, bundled=everywhere["bundled"]).resolve("smollm2")

        assert entry.path == everywhere[sources[0]].resolve()

    def test_a_tag_is_tried_at_every_source_before_it_is_dropped(self, make_resolver, write_model):
        given, found = write_model("given.gguf"), write_model("models/qwen:4b.gguf")
        resolver = make_resolver(("qwen", given))

        assert resolver.resolve("qwen:4b").path == found.resolve()
        assert resolver.resolve("qwen:8b").path == given.resolve()
        assert resolver.resolve("qwen : 8b").path == given.resolve()

    def test_only_the_last_tag_is_dropped(self, make_resolver, write_model):
        given = write_model("given.gguf")

        assert make_resolver(("host:5000/qwen", given)).resolve("host:5000/qwen:8b").name == "host:5000/qwen"

    def test_names_are_trimmed_and_lower_cased(self, make_resolver, write_model):
        resolver = make_resolver((" Given ", write_model("a.gguf")), yaml="Listed: b.gguf\n")
        write_model("b.gguf")
        write_model("models/Found.GGUF")

        assert resolver.resolve("\tGIVEN\n").name == "given"
        assert resolver.resolve(" lisTED ").name == "listed"
        assert resolver.resolve("fOUND").name == "found"


class TestCommandLine:
    def test_one_name_for_two_files(self, make_resolver, tmp_path):
        with pytest.raises(ValueError, match="the name 'a' is given to two files"):
            make_resolver(("a", tmp_path / "x.gguf"), ("A ", tmp_path / "y.gguf"))

    def test_no_name(self, make_resolver, tmp_path):
        with pytest.raises(ValueError, match="a model needs a name"):
            make_resolver((" ", tmp_path / "x.gguf"))

    def test_a_home_of_nobody(self, make_resolver):
        with pytest.raises(ValueError, match="the home of a user that there is not"):
            make_resolver(("a", Path("~nobody-has-this-name/a.gguf")))

    def test_a_relative_path_stays_what_it_was(self, make_resolver, write_model, tmp_path, monkeypatch):
        path = write_model("a.gguf")
        monkeypatch.chdir(tmp_path)
        resolver = make_resolver(("a", Path("a.gguf")))
        monkeypatch.chdir("/")

        assert resolver.resolve("a").path == path.resolve()

    def test_a_missing_file(self, make_resolver, tmp_path, refusal):
        error = refusal(make_resolver(("a", tmp_path / "a.gguf")), "a")

        assert error.condition is Condition.ENGINE
        assert error.reason == "MODEL_FILE_MISSING"
        assert error.message == f"the file of model 'a' is not there: {tmp_path / 'a.gguf'}"

    def test_settings_come_from_models_yaml_which_names_the_same_file(self, make_resolver, write_model):
        path = write_model("a.gguf")

        entry = make_resolver(("given", path), yaml="listed: {path: a.gguf, parallel: 3}\n").resolve("given")

        assert entry.settings == ModelSettings(parallel=3)
        assert (entry.name, entry.aliases) == ("given", ("listed",))


class TestEntries:
    def test_all_that_can_be_named_by_name(self, make_resolver, write_model, tmp_path):
        given, listed_file = write_model("given.gguf"), write_model("listed.gguf")
        found, bundled = write_model("models/Found.gguf", name="F"), write_model("package/b.gguf")
        write_model("models/broken.gguf").write_bytes(b"broken")
        write_model("invalid.gguf").write_bytes(b"broken")
        yaml = "yours: {path: listed.gguf, aliases: [your]}\nlost: lost.gguf\ninvalid: invalid.gguf\n"
        resolver = make_resolver(("mine", given), yaml=yaml, bundled=bundled)

        entries = resolver.entries()

        assert [(entry.name, entry.aliases, entry.path) for entry in entries] == [
            ("found", (), found.resolve()),
            ("invalid", (), (tmp_path / "invalid.gguf").resolve()),
            ("lost", (), tmp_path.resolve() / "lost.gguf"),
            ("mine", (), given.resolve()),
            ("smollm2", ("b",), bundled.resolve()),
            ("yours", ("your",), listed_file.resolve()),
        ]
        assert [entry.name for entry in entries if entry.metadata is None] == ["invalid", "lost"]

    def test_what_is_listed_is_what_its_names_resolve_to(self, make_resolver, write_model):
        for place in ("a", "b", "x/same", "y/same", "same"):
            write_model(f"models/{place}.gguf", "llama", f"name of {place}")
        write_model("other.gguf")
        resolver = make_resolver(yaml="b: other.gguf\nmine: {path: models/a.gguf, aliases: [c]}\n")

        entries = resolver.entries()

        assert len(entries) == 6
        for entry in entries:
            for name in (entry.name, *entry.aliases):
                assert resolver.resolve(name) == entry


def test_an_entry_is_a_value(make_resolver, write_model):
    write_model("models/a.gguf")
    entry = make_resolver().resolve("a")

    assert isinstance(entry, ModelEntry)
    assert hash(entry) == hash(make_resolver().resolve("a"))
