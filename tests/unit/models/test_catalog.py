"""models.yaml: what it may say, and how a mistake in it is told."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llamawire_server.config import ModelSettings, SamplingDefaults
from llamawire_server.models.catalog import Catalog, CatalogError, load_catalog


@pytest.fixture
def load(tmp_path):
    """Loads a catalog from the text of its models.yaml."""

    def load_text(text: str | bytes) -> Catalog:
        path = tmp_path / "models.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_catalog(path)

    return load_text


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
          threads: 2
          gpu_layers: 0
          chat_template: "{{ messages }}"
          reasoning_format: DeepSeek
          keep_alive: 300
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
        threads=2,
        gpu_layers=0,
        chat_template="{{ messages }}",
        reasoning_format="deepseek",
        keep_alive=300.0,
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
        assert entry.template_paths == ()

    @pytest.mark.parametrize("is_absolute", [False, True])
    def test_from_a_file(self, load, tmp_path, is_absolute):
        path = tmp_path / "templates" / "chat.jinja"
        path.parent.mkdir()
        path.write_text("{{ 'ü' }}", encoding="utf-8")

        catalog = load(
            f"a: {{path: a.gguf, chat_template: {path if is_absolute else 'templates/chat.jinja'}}}"
        )

        assert catalog.entries["a"].settings.chat_template == "{{ 'ü' }}"
        assert catalog.template_paths == (path,)

    def test_neither_a_template_nor_a_file(self, load):
        with pytest.raises(
            CatalogError, match=r"line 3: model a: chat_template is neither a template.* nor a file"
        ):
            load("a:\n  path: a.gguf\n  chat_template: chat.jinja\n")

    def test_a_folder(self, load, tmp_path):
        with pytest.raises(CatalogError, match=r"names a file that can't be read: .*Is a directory"):
            load(f"a: {{path: a.gguf, chat_template: {tmp_path}}}")

    def test_a_file_that_is_not_text(self, load, tmp_path):
        (tmp_path / "chat.jinja").write_bytes(b"\xff\xfe")

        with pytest.raises(CatalogError, match="is not text in UTF-8"):
            load("a: {path: a.gguf, chat_template: chat.jinja}")


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

    def test_what_contains_itself_is_an_error(self, load):
        with pytest.raises(CatalogError):
            load("a: &a {path: a.gguf, <<: {<<: *a}}")


class TestOneFileWithSeveralNames:
    def test_same_settings(self, load):
        catalog = load("a: {path: x.gguf, parallel: 2}\nb: ./x.gguf\nc: {path: x.gguf, parallel: 2}\n")

        assert list(catalog.entries) == ["a", "b", "c"]

    def test_other_settings(self, load):
        with pytest.raises(
            CatalogError, match="line 2: 'b' names the same file as 'a' in line 1, with other settings"
        ):
            load("a: {path: x.gguf, parallel: 2}\nb: {path: ./x.gguf, parallel: 3}\n")

    def test_other_settings_through_a_link(self, load, tmp_path):
        (tmp_path / "link.gguf").symlink_to(tmp_path / "x.gguf")

        with pytest.raises(CatalogError, match="names the same file"):
            load("a: {path: x.gguf, parallel: 2}\nb: {path: link.gguf, parallel: 3}\n")


MISTAKES = {
    "not YAML": ("a: b\nc: [\n", 3, "is not YAML: "),
    "a tab": ("a:\n\tpath: b\n", 2, "is not YAML: found character '\\t'"),
    "two documents": ("a: b\n---\nc: d\n", 2, "is not YAML: "),
    "an undefined anchor": ("a: b\nc: *d\n", 2, "is not YAML: found undefined alias"),
    "a control character": ("a: b\nc: \x01\n", 2, "is not YAML: special characters are not allowed"),
    "not UTF-8": (b"a: b\nc: \xff\n", 2, "is not text in UTF-8"),
    "an escape that is no character": ('a: "\\UFFFFFFFF"\n', None, "is not YAML: "),
    "too deep": ("a: " + "[" * 1500, None, "is nested too deeply"),
    "a list": ("- a.gguf\n", 1, "the file must be a mapping, not a list"),
    "a text": ("a.gguf\n", 1, "the file must be a mapping, not text"),
    "models is a list": ("\nmodels: [a]\n", 2, "models must be a mapping, not a list"),
    "models is a path": ("models: a.gguf\n", 1, "models must be a mapping, not text"),
    "a number as a name": (
        "a: b\n3: x.gguf\n",
        2,
        "model key must be text, not a whole number; if it is text, put",
    ),
    "a truth as a name": ("on: x.gguf\n", 1, "model key must be text, not true or false"),
    "a list as a name": ("? [a]\n: x.gguf\n", 1, "model key must be text, not a list"),
    "an empty name": ("' ': x.gguf\n", 1, "model key is empty"),
    "a long name": (f"{'a' * 257}: x.gguf\n", 1, "is longer than 256 characters"),
    "a list as an entry": ("a:\n  - x.gguf\n", 1, "model a must be a path, or a mapping that has a path"),
    "nothing as an entry": ("a:\n", 1, "model a must be a path, or a mapping that has a path"),
    "a number as an entry": ("a: 5\n", 1, "model a must be a path, or a mapping that has a path"),
    "an empty path": ("a: ''\n", 1, "model a is empty"),
    "a path with a null character": ('a: "x\\0y"\n', 1, "has a character that is none"),
    "a path with half a character": ('a: "x\\ud800y"\n', 1, "has a character that is none"),
    "a home of nobody": ("a: ~nobody-has-this-name/x\n", 1, "the home of a user that there is not"),
    "no path": ("a:\n  parallel: 2\n", 1, "model a has no path"),
    "a null path": ("a: {path: }\n", 1, "model a has no path"),
    "path is a list": ("a:\n  path: [x]\n", 2, "model a: path must be text, not a list"),
    "path is a date": ("a:\n  path: 2020-01-01\n", 2, "path must be text, not a date; if it is text, put"),
    "path only claims to be text": ("a:\n  path: !!str [x]\n", 2, "path must be text"),
    "an unknown key": (
        "a:\n  path: x\n  paralel: 2\n",
        3,
        "paralel is not a key that is known here; did you mean 'parallel'?",
    ),
    "an unknown key unlike any": (
        "a:\n  path: x\n  zzz: 2\n",
        3,
        "zzz is not a key that is known here; there are: aliases, ",
    ),
    "an unknown default": (
        "a:\n  path: x\n  defaults:\n    temprature: 1\n",
        4,
        "defaults.temprature is not a key that is known here; did you mean 'temperature'?",
    ),
    "a key twice": ("a:\n  path: x\n  path: y\n", 3, "model a: path is there twice, first in line 2"),
    "a name twice": ("a: x\nb: y\na: z\n", 3, "model a is there twice, first in line 1"),
    "a name twice, written otherwise": (
        "a: x\nb: y\n' A': z\n",
        3,
        "gives the name 'a' for the second time; the first is in line 1",
    ),
    "a name at the root and under models": (
        "a: x\nmodels:\n  a: y\n",
        3,
        "gives the name 'a' for the second time",
    ),
    "an alias that is a name": (
        "a: x\nb:\n  path: y\n  aliases:\n  - c\n  - A\n",
        6,
        "model b: aliases[1] gives the name 'a' for the second time",
    ),
    "an alias twice": (
        "a:\n  path: x\n  aliases: [b, b]\n",
        3,
        "aliases[1] gives the name 'b' for the second time",
    ),
    "an alias that is a number": (
        "a:\n  path: x\n  aliases: [b, 3]\n",
        3,
        "aliases[1] must be text, not a whole number",
    ),
    "aliases are a mapping": (
        "a:\n  path: x\n  aliases: {b: c}\n",
        3,
        "aliases must be a list, not a mapping",
    ),
    "merging what is no mapping": (
        "a:\n  path: x\n  <<: 3\n",
        3,
        "model a: << must be a mapping, not a whole number",
    ),
    "defaults are a list": ("a:\n  path: x\n  defaults: []\n", 3, "defaults must be a mapping, not a list"),
    "a whole number that is none": (
        "a: {path: x, parallel: !!int x}\n",
        1,
        "parallel must be a whole number",
    ),
    "an enormous number": (f"a: {{path: x, keep_alive: {'9' * 400}}}\n", 1, "keep_alive is too large"),
}


@pytest.mark.parametrize(("text", "line", "reason"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_with_its_line(load, tmp_path, text, line, reason):
    with pytest.raises(CatalogError) as raised:
        load(text)

    assert reason in raised.value.message
    assert raised.value.line == line
    assert raised.value.path == tmp_path / "models.yaml"
    place = f"{tmp_path / 'models.yaml'}, line {line}: " if line else f"{tmp_path / 'models.yaml'}: "
    assert str(raised.value) == place + raised.value.message


OUT_OF_RANGE = [
    ("context_length", "0", "[1, 2,147,483,647]"),
    ("context_length", "4096.0", "a whole number, not a number"),
    ("context_length", "true", "a whole number, not true or false"),
    ("context_length", "'8'", "a whole number, not text"),
    ("parallel", "0", "[1, 256]"),
    ("parallel", "257", "[1, 256]"),
    ("kv_cache_tokens", "0", "[1, "),
    ("threads", "0", "[1, "),
    ("gpu_layers", "-2", "[-1, "),
    ("keep_alive", ".nan", "must be a finite number"),
    ("keep_alive", ".inf", "must be a finite number"),
    ("keep_alive", "5m", "a number, not text"),
    ("chat_template", "3", "must be text, not a whole number"),
    ("reasoning_format", "[a]", "must be text, not a list"),
    ("defaults", "{temperature: 2.1}", "[0, 2]"),
    ("defaults", "{temperature: -0.1}", "[0, 2]"),
    ("defaults", "{top_p: 1.1}", "[0, 1]"),
    ("defaults", "{top_k: -1}", "[0, 2,147,483,647]"),
    ("defaults", "{min_p: 1.1}", "[0, 1]"),
    ("defaults", "{frequency_penalty: 3}", "[-2, 2]"),
    ("defaults", "{presence_penalty: -3}", "[-2, 2]"),
    ("defaults", "{repeat_penalty: 0}", "(0, 10]"),
    ("defaults", "{repeat_penalty: 11}", "[0, 10]"),
    ("defaults", "{max_tokens: 0}", "[1, "),
]


@pytest.mark.parametrize(("key", "value", "reason"), OUT_OF_RANGE)
def test_a_value_that_a_setting_can_not_have(load, key, value, reason):
    with pytest.raises(CatalogError) as raised:
        load(f"a:\n  path: x.gguf\n\n  {key}: {value}\n")

    assert raised.value.line == 4
    assert raised.value.message.startswith(f"model a: {key}")
    assert reason in raised.value.message


IN_RANGE = [
    ("parallel", "1", 1),
    ("parallel", "256", 256),
    ("gpu_layers", "-1", -1),
    ("keep_alive", "0", 0.0),
    ("keep_alive", "-1", -1.0),
    ("keep_alive", "2.5", 2.5),
]


@pytest.mark.parametrize(("key", "value", "expected"), IN_RANGE)
def test_a_value_at_the_edge_of_its_range(load, key, value, expected):
    settings = load(f"a: {{path: x.gguf, {key}: {value}}}").entries["a"].settings

    assert getattr(settings, key) == expected


def test_a_folder_in_the_file_s_place(tmp_path):
    with pytest.raises(CatalogError, match="can't be read: Is a directory"):
        load_catalog(tmp_path)


WORDS = ["a", "models", "path", "parallel", "aliases", "defaults", "1", "2020-01-01"]
TAGS = ["&a", "*a", "<<", "!!int", "!!str", "!!binary", "~", "|"]
SIGNS = [*":[]{},>?%'\\\"", " ", "\n", "  ", "- "]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.sampled_from([*WORDS, *TAGS, *SIGNS]), max_size=30))
def test_any_text_is_a_catalog_or_a_mistake(load, pieces):
    with contextlib.suppress(CatalogError):
        load("".join(pieces))
