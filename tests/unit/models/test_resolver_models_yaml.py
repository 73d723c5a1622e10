"""Which file a name of models.yaml leads to, and with which settings."""

from __future__ import annotations

import pytest

from llamawire_server.config import ModelSettings, SamplingDefaults
from llamawire_server.errors import Condition


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
