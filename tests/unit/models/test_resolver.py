"""Which file a name leads to: the sources of names, the order among them, and what is listed."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path

import pytest

from llamawire_server.config import ModelSettings, SamplingDefaults
from llamawire_server.errors import Condition
from llamawire_server.models import catalog_file, model_files
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


class TestModelsYaml:
    def test_an_entry_has_its_settings(self, make_resolver, write_model):
        path = write_model("a.gguf", name="A")
        yaml = "qwen: {path: a.gguf, aliases: [q, qq], parallel: 2, defaults: {temperature: 0}}\n"

        entry = make_resolver(yaml=yaml).resolve("q:latest")

        assert entry.name == "qwen"
        assert entry.aliases == ("q", "qq")
        assert entry.path == path.resolve()
        assert entry.settings == ModelSettings(parallel=2, defaults=SamplingDefaults(temperature=0.0))
        assert entry.metadata is not None
        assert entry.metadata.display_name == "A"

    def test_several_names_for_one_file_are_one_entry(self, make_resolver, write_model, tmp_path):
        path = write_model("a.gguf")
        (tmp_path / "link.gguf").symlink_to(path)
        resolver = make_resolver(yaml="a: a.gguf\nb: {path: link.gguf, threads: 1, aliases: [c]}\n")

        entries = {resolver.resolve(name) for name in "abc"}

        assert len(entries) == 1
        assert entries == set(resolver.entries())
        (entry,) = entries
        assert (entry.name, entry.aliases, entry.path) == ("a", ("b", "c"), path.resolve())
        assert entry.settings == ModelSettings(threads=1)

    def test_a_name_that_the_command_line_took_leaves_the_alias(self, make_resolver, write_model):
        given, other = write_model("given.gguf"), write_model("other.gguf")
        resolver = make_resolver(("a", given), yaml="a: {path: other.gguf, aliases: [b], parallel: 2}\n")

        assert resolver.resolve("a").path == given.resolve()
        assert resolver.resolve("a").settings == ModelSettings()
        assert resolver.resolve("b").path == other.resolve()
        assert (resolver.resolve("b").name, resolver.resolve("b").aliases) == ("b", ())

    @pytest.mark.parametrize("name", ["qwen", "q"])
    def test_a_missing_file(self, make_resolver, tmp_path, name, refusal):
        error = refusal(make_resolver(yaml="qwen: {path: sub/a.gguf, aliases: [q]}\n"), name)

        assert error.condition is Condition.ENGINE
        assert error.reason == "MODEL_FILE_MISSING"
        assert str(tmp_path / "sub" / "a.gguf") in error.message

    def test_a_draft_model_belongs_to_its_entry(self, make_resolver, write_model):
        write_model("a.gguf")
        path = write_model("draft.gguf", name="Small")
        resolver = make_resolver(yaml="a: {path: a.gguf, draft_model: draft.gguf}\n")

        before = resolver.resolve("a")
        assert before.is_readable
        assert before.draft.metadata.display_name == "Small"

        path.write_bytes(path.read_bytes()[:-1])
        (broken,) = resolver.entries()
        assert broken.metadata == before.metadata
        assert not broken.is_readable

        write_model("draft.gguf", name="Another")
        (after,) = resolver.entries()
        assert after.is_readable
        assert after != before

    def test_a_missing_draft_model(self, make_resolver, write_model, tmp_path, refusal):
        write_model("a.gguf")
        error = refusal(make_resolver(yaml="a: {path: a.gguf, draft_model: b.gguf}\n"), "a")

        assert error.condition is Condition.ENGINE
        assert error.reason == "MODEL_FILE_MISSING"
        path = tmp_path / "b.gguf"
        assert error.message == f"the file of the draft model of model 'a' is not there: {path}"

    def test_a_draft_model_of_no_use(self, make_resolver, write_model, refusal):
        write_model("a.gguf")
        path = write_model("b.gguf")
        path.write_bytes(path.read_bytes()[:-1])

        error = refusal(make_resolver(yaml="a: {path: a.gguf, draft_model: b.gguf}\n"), "a")

        assert error.reason == "MODEL_FILE_INVALID"
        assert "the draft model of model 'a' can't be used" in error.message
        assert f"{path}: ends 1 bytes too early" in error.message

    def test_a_missing_file_is_not_sought_elsewhere(self, make_resolver, write_model, refusal):
        write_model("models/qwen.gguf")

        assert refusal(make_resolver(yaml="qwen: a.gguf\n"), "qwen").reason == "MODEL_FILE_MISSING"

    def test_a_file_of_no_use(self, make_resolver, write_model, refusal):
        path = write_model("a.gguf")
        path.write_bytes(path.read_bytes()[:-1])

        error = refusal(make_resolver(yaml="qwen: a.gguf\n"), "qwen")

        assert error.condition is Condition.ENGINE
        assert error.reason == "MODEL_FILE_INVALID"
        assert f"{path}: ends 1 bytes too early" in error.message

    def test_what_is_not_a_model(self, make_resolver, write_model, refusal):
        write_model("a.gguf", general__type="adapter")

        error = refusal(make_resolver(yaml="qwen: a.gguf\n"), "qwen")

        assert error.reason == "MODEL_FILE_INVALID"
        assert "not a model but what goes with one: adapter" in error.message

    def test_a_change_is_seen(self, make_resolver, write_model):
        first, second = write_model("a.gguf"), write_model("b.gguf")
        resolver = make_resolver(yaml="m: a.gguf\n")
        assert resolver.resolve("m").path == first.resolve()

        make_resolver(yaml="m: b.gguf\nn: b.gguf\n")

        assert resolver.resolve("m").path == second.resolve()
        assert resolver.resolve("n").aliases == ("n",)

    def test_a_file_that_appears_and_goes_is_seen(self, make_resolver, write_model, tmp_path, refusal):
        write_model("a.gguf")
        resolver = make_resolver()
        assert refusal(resolver, "m").reason == "MODEL_NOT_FOUND"

        make_resolver(yaml="m: a.gguf\n")
        assert resolver.resolve("m").name == "m"

        (tmp_path / "models.yaml").unlink()
        assert refusal(resolver, "m").reason == "MODEL_NOT_FOUND"

    def test_a_changed_template_is_seen(self, make_resolver, write_model, tmp_path):
        write_model("a.gguf", tokenizer__chat_template="of the file")
        template = tmp_path / "chat.jinja"
        template.write_text("first")
        resolver = make_resolver(yaml="m: {path: a.gguf, chat_template: chat.jinja}\n")
        assert resolver.resolve("m").chat_template == "first"

        template.write_text("second")

        assert resolver.resolve("m").chat_template == "second"

    def test_the_file_s_own_template_is_the_default(self, make_resolver, write_model):
        write_model("models/a.gguf", tokenizer__chat_template="of the file")
        write_model("models/b.gguf")

        assert make_resolver().resolve("a").chat_template == "of the file"
        assert make_resolver().resolve("b").chat_template is None


class TestBrokenModelsYaml:
    BROKEN = "m: a.gguf\nn: [\n"

    def test_other_sources_go_on(self, make_resolver, write_model, listed):
        given, found = write_model("given.gguf"), write_model("models/found.gguf")
        bundled = write_model("bundled.gguf")
        resolver = make_resolver(("given", given), yaml=self.BROKEN, bundled=bundled)

        assert resolver.resolve("given").path == given.resolve()
        assert resolver.resolve("found:latest").path == found.resolve()
        assert resolver.resolve("smollm2").path == bundled.resolve()
        assert listed(resolver) == {"given": "given.gguf", "found": "found.gguf", "smollm2": "bundled.gguf"}

    def test_a_name_that_is_not_found_may_be_in_it(self, make_resolver, tmp_path, refusal):
        error = refusal(make_resolver(yaml=self.BROKEN), "m")

        assert error.condition is Condition.ENGINE
        assert error.reason == "MODELS_YAML_INVALID"
        assert "no model that is known is named 'm'" in error.message
        assert f"{tmp_path / 'models.yaml'}, line 3: is not YAML" in error.message

    def test_the_last_good_one_is_kept_until_it_is_mended(self, make_resolver, write_model, refusal):
        write_model("a.gguf")
        resolver = make_resolver(yaml="m: a.gguf\n")
        assert resolver.resolve("m").name == "m"

        make_resolver(yaml=self.BROKEN)
        assert resolver.resolve("m").name == "m"
        assert refusal(resolver, "n").reason == "MODELS_YAML_INVALID"

        make_resolver(yaml="n: a.gguf\n")
        assert resolver.resolve("n").name == "n"
        assert refusal(resolver, "m").reason == "MODEL_NOT_FOUND"

    def test_what_mends_it_may_be_another_file(self, make_resolver, write_model, tmp_path, refusal):
        write_model("a.gguf")
        resolver = make_resolver(yaml="m: {path: a.gguf, chat_template: chat.jinja}\n")
        assert refusal(resolver, "m").reason == "MODELS_YAML_INVALID"

        (tmp_path / "chat.jinja").write_text("here now")

        assert resolver.resolve("m").chat_template == "here now"

    def test_it_is_logged_once(self, make_resolver, caplog, refusal):
        resolver = make_resolver(yaml=self.BROKEN)

        with caplog.at_level(logging.ERROR, logger="llamawire_server.models"):
            for _ in range(3):
                refusal(resolver, "m")

        assert [record.levelname for record in caplog.records] == ["ERROR"]
        assert "line 3: is not YAML" in caplog.text


class TestWrongEntries:
    """Entries of models.yaml that are wrong, among others that are right."""

    def test_one_that_never_was_right_is_told_by_all_its_names(
        self, make_resolver, write_model, refusal, tmp_path
    ):
        write_model("models/qwen3.gguf")
        resolver = make_resolver(yaml="good: models/qwen3.gguf\nqwen: {path: x, aliases: [q], paralel: 2}\n")

        for name in ("qwen", " QWEN:latest", "q"):
            error = refusal(resolver, name)
            assert (error.condition, error.reason) == (Condition.ENGINE, "MODELS_YAML_INVALID")
            assert f"{tmp_path / 'models.yaml'}, line 2: model qwen: paralel is not a key" in error.message

    def test_others_are_what_they_are_without_it(self, make_resolver, write_model, refusal, listed):
        write_model("a.gguf")
        write_model("models/found.gguf")
        resolver = make_resolver(yaml="good: a.gguf\nqwen: 3\n")

        assert resolver.resolve("good").problem == ""
        assert resolver.resolve("found").name == "found"
        assert refusal(resolver, "other").reason == "MODEL_NOT_FOUND"
        assert "did you mean 'qwen'?" in refusal(resolver, "qwem").message
        assert listed(resolver) == {"good": "a.gguf", "found": "found.gguf"}

    def test_its_name_leads_nowhere_else(self, make_resolver, write_model, refusal, listed):
        write_model("models/qwen.gguf", "qwen", "Other Name")
        bundled = write_model("bundled.gguf")
        resolver = make_resolver(yaml="qwen: 3\nsmollm2: 3\n", bundled=bundled)

        assert refusal(resolver, "qwen").reason == "MODELS_YAML_INVALID"
        assert refusal(resolver, "smollm2").reason == "MODELS_YAML_INVALID"
        assert resolver.resolve("other name").path.name == "qwen.gguf"
        assert listed(resolver) == {"other name": "qwen.gguf", "bundled": "bundled.gguf"}

    def test_a_name_of_the_command_line_needs_no_entry(self, make_resolver, write_model):
        path = write_model("a.gguf")
        assert make_resolver(("qwen", path), yaml="qwen: 3\n").resolve("qwen").path == path.resolve()

    def test_one_that_was_right_stays_and_says_what_is_wrong_now(self, make_resolver, write_model, tmp_path):
        write_model("a.gguf")
        resolver = make_resolver(yaml="qwen: {path: a.gguf, aliases: [q], parallel: 2}\n")
        before = resolver.resolve("q")
        assert before.problem == ""

        make_resolver(yaml="qwen: {path: a.gguf, aliases: [q], parallel: 200000}\n")

        entry = resolver.resolve("q")
        assert entry == replace(before, problem=entry.problem)
        assert entry.problem.startswith(
            f"{tmp_path / 'models.yaml'}, line 1: model qwen: parallel must be in "
        )
        assert resolver.entries() == [entry]

    def test_all_say_what_is_wrong_with_the_whole_file(self, make_resolver, write_model):
        write_model("a.gguf")
        write_model("models/found.gguf")
        resolver = make_resolver(yaml="qwen: a.gguf\n")
        resolver.resolve("qwen")

        make_resolver(yaml="qwen: a.gguf\n- no\n")

        assert "line 2: is not YAML" in resolver.resolve("qwen").problem
        assert resolver.resolve("found").problem == ""


class TestFilesThatChange:
    def test_a_file_of_the_same_size_and_time_is_another_one(self, make_resolver, write_model):
        path = write_model("models/a.gguf", name="Name 1")
        resolver = make_resolver()
        before = resolver.resolve("a")
        times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)

        os.utime(write_model("new", name="Name 1"), ns=times)
        (path.parent.parent / "new").replace(path)

        after = resolver.resolve("a")
        assert after.metadata == before.metadata
        assert after.signature != before.signature
        assert resolver.entries() == [after]

    def test_every_part_of_a_split_model_counts(self, make_resolver, write_model):
        split = {"split__count": 2}
        write_model("models/a-00001-of-00002.gguf", split__no=0, **split)
        second = write_model("models/a-00002-of-00002.gguf", split__no=1, **split)
        resolver = make_resolver()
        before = resolver.resolve("a")
        times = (second.stat().st_atime_ns, second.stat().st_mtime_ns)

        os.utime(write_model("new", split__no=1, **split), ns=times)
        (second.parent.parent / "new").replace(second)

        assert len(before.signature) == 2
        after = resolver.resolve("a")
        assert after.signature[0] == before.signature[0]
        assert after.signature[1] != before.signature[1]

    def test_a_file_that_is_being_written_is_unreadable_until_it_is_whole(self, make_resolver, write_model):
        path = write_model("a.gguf")
        whole = path.read_bytes()
        resolver = make_resolver(yaml="a: a.gguf\n")
        (before,) = resolver.entries()

        for size_bytes in (0, 10, len(whole) - 1):
            path.write_bytes(whole[:size_bytes])
            (entry,) = resolver.entries()
            assert (entry.name, entry.metadata, entry.signature) == ("a", None, ())

        path.write_bytes(whole)
        (after,) = resolver.entries()
        assert after.metadata is not None
        assert after.signature != before.signature

    def test_a_loaded_model_stays_listed_while_its_file_in_the_folder_is_written_anew(
        self, make_resolver, write_model
    ):
        path = write_model("models/a.gguf")
        whole = path.read_bytes()
        resolver = make_resolver()
        (loaded,) = resolver.entries()

        path.write_bytes(whole[:-1])
        assert resolver.entries() == []
        assert resolver.entries([loaded]) == [replace(loaded, metadata=None, signature=())]
        write_model("other.gguf")
        make_resolver(yaml="a: other.gguf\n")
        assert [entry.path.name for entry in resolver.entries([loaded])] == ["other.gguf"]
        make_resolver(yaml="")
        path.unlink()
        assert resolver.entries([loaded]) == []

    def test_a_loaded_model_that_was_given_a_name_goes_with_it(self, make_resolver, write_model):
        path = write_model("a.gguf")
        resolver = make_resolver(yaml="a: a.gguf\n")
        loaded = resolver.entries()

        path.write_bytes(b"GGUF")
        make_resolver(yaml="# nothing\n")
        assert resolver.entries(loaded) == []

    def test_nothing_is_read_while_nothing_changes(self, make_resolver, write_model, monkeypatch):
        write_model("models/a.gguf")
        write_model("models/half.gguf").write_bytes(b"GGUF")
        write_model("b.gguf")
        resolver = make_resolver(yaml="b: b.gguf\nlost: lost.gguf\nwrong: 3\n")
        before = resolver.entries()

        monkeypatch.delattr(model_files, "read_gguf")
        monkeypatch.delattr(catalog_file, "load_catalog")
        assert resolver.entries() == before


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
