"""Where names lead while models.yaml, or an entry of it, is wrong."""

from __future__ import annotations

import logging
from dataclasses import replace

from llamawire_server.errors import Condition


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
