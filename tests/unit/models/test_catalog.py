"""models.yaml: what it may say."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from llamawire_server.config import ModelSettings, SamplingDefaults
from llamawire_server.models.catalog import load_catalog


def test_a_missing_file_is_an_empty_catalog(tmp_path):
    assert load_catalog(tmp_path / "models.yaml").entries == {}


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "null\n", "models:\n", "models: {}\n"])
def test_a_file_without_entries_is_an_empty_catalog(load, text):
    assert load(text).entries == {}


def test_entries_are_at_the_root_and_under_models(load, tmp_path):
    catalog = load("first: a.gguf\nmodels:\n  second: {path: b.gguf}\n  third: c.gguf\nfourth: d.gguf\n")

    assert {name: entry.path.name for name, entry in catalog.entries.items()} == {
        "first": "a.gguf",
        "second": "b.gguf",
        "third": "c.gguf",
        "fourth": "d.gguf",
    }
    assert list(catalog.entries) == ["first", "second", "third", "fourth"]
    assert [entry.line for entry in catalog.entries.values()] == [1, 3, 4, 5]


def test_everything_an_entry_can_say(load, tmp_path):
    catalog = load("""\
        qwen:
          path: qwen.gguf
          aliases: [Qwen3, " q:latest "]
          context_length: 4096
          parallel: 4
          kv_cache_tokens: 16384
          token_interval_seconds: 0.05
          max_queued_tokens: 5000
          prompt_cache: false
          prompt_cache_tokens: 0
          prompt_lookup: no
          draft_model: small/draft.gguf
          threads: 2
          gpu_layers: 0
          chat_template: "{{ messages }}"
          reasoning_format: " Think_Always"
          keep_alive: 300
          pinned: true
          preload: yes
          defaults:
            temperature: 0
            top_p: 1
            top_k: 0
            min_p: 0.05
            frequency_penalty: -2
            presence_penalty: 2.0
            repeat_penalty: 1.1
            max_tokens: 100
        """)

    entry = catalog.entries["qwen"]

    assert entry.path == tmp_path / "qwen.gguf"
    assert entry.aliases == ("qwen3", "q:latest")
    assert entry.settings == ModelSettings(
        context_length=4096,
        parallel=4,
        kv_cache_tokens=16384,
        token_interval_seconds=0.05,
        max_queued_tokens=5000,
        prompt_cache=False,
        prompt_cache_tokens=0,
        prompt_lookup=False,
        draft_model=tmp_path / "small" / "draft.gguf",
        threads=2,
        gpu_layers=0,
        chat_template="{{ messages }}",
        reasoning_format="think_always",
        keep_alive=300.0,
        pinned=True,
        preload=True,
        defaults=SamplingDefaults(
            temperature=0.0,
            top_p=1.0,
            top_k=0,
            min_p=0.05,
            frequency_penalty=-2.0,
            presence_penalty=2.0,
            repeat_penalty=1.1,
            max_tokens=100,
        ),
    )


def test_every_setting_can_be_written(load):
    # A setting that is added to the dataclass alone would be a key that nobody can use.
    for field in dataclasses.fields(ModelSettings):
        assert load(f"a: {{path: a.gguf, {field.name}: null}}").entries["a"].settings == ModelSettings()
    for field in dataclasses.fields(SamplingDefaults):
        assert load(f"a: {{path: a.gguf, defaults: {{{field.name}: 1}}}}").entries["a"].path.name == "a.gguf"


def test_what_is_left_empty_keeps_its_default(load):
    entry = load("a:\n  path: a.gguf\n  aliases:\n  parallel:\n  defaults:\n    top_k:\n").entries["a"]

    assert entry.aliases == ()
    assert entry.settings == ModelSettings()


def test_names_are_trimmed_and_lower_cased(load):
    catalog = load('" Big Model:8B ": {path: a.gguf, aliases: " LARGE "}\n')

    assert list(catalog.entries) == ["big model:8b"]
    assert catalog.entries["big model:8b"].aliases == ("large",)


class TestPaths:
    def test_relative_to_the_file_and_not_to_the_working_directory(self, load, tmp_path, monkeypatch):
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")

        assert load("a: sub/a.gguf").entries["a"].path == tmp_path / "sub" / "a.gguf"

    def test_absolute(self, load):
        assert load("a: /models/a.gguf").entries["a"].path == Path("/models/a.gguf")

    def test_home(self, load, monkeypatch):
        monkeypatch.setenv("HOME", "/home/somebody")

        assert load("a: ~/a.gguf").entries["a"].path == Path("/home/somebody/a.gguf")

    def test_variables_of_the_environment_mean_nothing(self, load, tmp_path):
        assert load("a: $HOME/a.gguf").entries["a"].path == tmp_path / "$HOME" / "a.gguf"

    def test_a_relative_path_to_models_yaml(self, tmp_path, monkeypatch):
        (tmp_path / "models.yaml").write_text("a: a.gguf")
        monkeypatch.chdir(tmp_path)

        assert load_catalog(Path("models.yaml")).entries["a"].path == tmp_path / "a.gguf"


class TestChatTemplate:
    def test_inline_over_several_lines(self, load):
        entry = load(
            "a:\n  path: a.gguf\n  chat_template: |\n    {% for m in messages %}\n    {% endfor %}\n"
        )

        assert entry.entries["a"].settings.chat_template == "{% for m in messages %}\n{% endfor %}\n"
        assert entry.templates == {}

    @pytest.mark.parametrize("is_absolute", [False, True])
    def test_from_a_file(self, load, tmp_path, is_absolute):
        path = tmp_path / "templates" / "chat.jinja"
        path.parent.mkdir()
        path.write_text("{{ 'ü' }}", encoding="utf-8")

        catalog = load(
            f"a: {{path: a.gguf, chat_template: {path if is_absolute else 'templates/chat.jinja'}}}"
        )

        assert catalog.entries["a"].settings.chat_template == "{{ 'ü' }}"
        assert list(catalog.templates) == [path]

    def test_neither_a_template_nor_a_file(self, mistake):
        error = mistake("a:\n  path: a.gguf\n  chat_template: chat.jinja\n")

        assert error.line == 3
        assert "model a: chat_template is neither a template" in error.message
        assert "nor a file" in error.message

    def test_a_folder(self, mistake, tmp_path):
        error = mistake(f"a: {{path: a.gguf, chat_template: {tmp_path}}}")

        assert "names a file that can't be read: " in error.message
        assert "Is a directory" in error.message

    def test_a_file_that_is_not_text(self, mistake, tmp_path):
        (tmp_path / "chat.jinja").write_bytes(b"\xff\xfe")

        assert "is not text in UTF-8" in mistake("a: {path: a.gguf, chat_template: chat.jinja}").message


class TestMergedKeys:
    def test_own_keys_win_over_merged_ones(self, load):
        catalog = load("""\
            a: &base
              path: a.gguf
              parallel: 2
              threads: 3
            b:
              <<: *base
              path: b.gguf
              parallel: 4
            c:
              <<: [{path: c.gguf}, *base]
            """)

        assert catalog.entries["b"].path.name == "b.gguf"
        assert catalog.entries["b"].settings == ModelSettings(parallel=4, threads=3)
        assert catalog.entries["c"].path.name == "c.gguf"
        assert catalog.entries["c"].settings == ModelSettings(parallel=2, threads=3)

    def test_what_contains_itself_is_an_error(self, mistake):
        assert mistake("a: &a {path: a.gguf, <<: {<<: *a}}").message == "model a is nested too deeply"

    def test_entries_are_merged_too(self, load):
        catalog = load("a: a.gguf\nmodels:\n  b: b.gguf\n  <<: {b: other.gguf, c: c.gguf}\n<<: {d: d.gguf}\n")

        assert {name: entry.path.name for name, entry in catalog.entries.items()} == {
            name: f"{name}.gguf" for name in "abcd"
        }


class TestOneFileWithSeveralNames:
    def test_same_settings(self, load):
        catalog = load("a: {path: x.gguf, parallel: 2}\nb: ./x.gguf\nc: {path: x.gguf, parallel: 2}\n")

        assert list(catalog.entries) == ["a", "b", "c"]

    @pytest.mark.parametrize("other", ["./x.gguf", "link.gguf"])
    def test_other_settings(self, load, tmp_path, other):
        (tmp_path / "link.gguf").symlink_to(tmp_path / "x.gguf")

        catalog = load(f"a: {{path: x.gguf, parallel: 2}}\nb: {{path: {other}, parallel: 3}}\nc: x.gguf\n")

        assert list(catalog.entries) == ["a", "c"]
        (problem,) = catalog.problems
        assert (problem.name, problem.error.line) == ("b", 2)
        assert "'b' names the same file as 'a' in line 1, with other settings" in problem.error.message
