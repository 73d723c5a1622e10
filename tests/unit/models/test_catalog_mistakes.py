"""models.yaml: how a mistake in it is told, and that it takes nothing from what is right."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llamawire_server.models.catalog import DocumentError, load_catalog

FAULTS = {
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
    "models twice": ("models: {}\nmodels: {}\n", 2, "models is there twice, first in line 1"),
    "merging what is no mapping at the root": ("a: b\n<<: 3\n", 2, "<< must be a mapping"),
}

MISTAKES = {
    "a number as a name": (
        "3: x.gguf\n",
        1,
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
    "an alias twice": (
        "a:\n  path: x\n  aliases: [b, b]\n",
        3,
        "aliases[1] gives the name 'b', as line 3 does",
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


@pytest.mark.parametrize(("text", "line", "reason"), FAULTS.values(), ids=FAULTS)
def test_a_file_that_is_wrong_as_a_whole_is_an_error_with_its_line(load, tmp_path, text, line, reason):
    with pytest.raises(DocumentError) as raised:
        load(text)

    assert reason in raised.value.message
    assert raised.value.line == line
    assert raised.value.path == tmp_path / "models.yaml"
    place = f"{tmp_path / 'models.yaml'}, line {line}: " if line else f"{tmp_path / 'models.yaml'}: "
    assert str(raised.value) == place + raised.value.message


@pytest.mark.parametrize(("text", "line", "reason"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_an_entry_is_told_with_its_line_and_takes_nothing_from_others(
    load, tmp_path, text, line, reason
):
    catalog = load(f"{text}good: {{path: good.gguf, aliases: [better]}}\n")

    (problem,) = catalog.problems
    assert reason in problem.error.message
    assert problem.error.line == line
    assert str(problem.error) == f"{tmp_path / 'models.yaml'}, line {line}: {problem.error.message}"
    assert list(catalog.entries) == ["good"]
    assert catalog.entries["good"].aliases == ("better",)
    assert catalog.problem_of(problem.name) is problem.error
    assert catalog.problem_of("good") is None


class TestNamesGivenTwice:
    @pytest.mark.parametrize(
        ("text", "line"),
        [
            ("a: x\nb: y\na: z\n", 3),
            ("a: x\nb: y\n' A': z\n", 3),
            ("a: x\nb: y\nmodels:\n  a: z\n", 4),
            ("a: x\nb: y\na:\n  paralel: 2\n", 3),
        ],
        ids=["the same", "written otherwise", "at the root and under models", "and wrong otherwise"],
    )
    def test_by_entries(self, load, text, line):
        catalog = load(text)

        assert {name: entry.path.name for name, entry in catalog.entries.items()} == {"a": "x", "b": "y"}
        (problem,) = catalog.problems
        assert (problem.name, problem.line, problem.error.line) == ("a", line, line)
        assert "gives the name 'a', as line 1 does" in problem.error.message

    @pytest.mark.parametrize(
        ("text", "line", "other_line"),
        [
            ("a: x\nb:\n  path: y\n  aliases:\n  - c\n  - A\n", 6, 1),
            ("b:\n  path: y\n  aliases: [c, A]\na: x\n", 3, 4),
        ],
        ids=["before", "after"],
    )
    def test_an_alias_gives_way_to_an_entry_s_own_name(self, load, text, line, other_line):
        catalog = load(text)

        assert list(catalog.entries) == ["a"]
        (problem,) = catalog.problems
        assert problem.names == ("b", "c")
        assert problem.error.line == line
        assert f"model b: aliases[1] gives the name 'a', as line {other_line} does" in problem.error.message

    def test_the_first_of_two_aliases_has_it(self, load):
        catalog = load("a: {path: x, aliases: [q]}\nb: {path: y, aliases: [q]}\n")

        assert catalog.entries["a"].aliases == ("q",)
        (problem,) = catalog.problems
        assert problem.names == ("b",)

    def test_an_entry_that_is_wrong_takes_no_alias_from_one_that_is_right(self, load):
        catalog = load("a: {path: x, aliases: [q], paralel: 2}\nb: {path: y, aliases: [q]}\n")

        assert catalog.entries["b"].aliases == ("q",)
        assert [problem.names for problem in catalog.problems] == [("a", "q")]

    def test_an_entry_that_is_wrong_keeps_its_own_name(self, load):
        catalog = load("a: {path: x, paralel: 2}\na: y\nb: {path: z, aliases: [a]}\n")

        assert catalog.entries == {}
        assert [(problem.name, problem.line) for problem in catalog.problems] == [
            ("a", 1),
            ("a", 2),
            ("b", 3),
        ]


def test_a_folder_in_the_file_s_place(tmp_path):
    with pytest.raises(DocumentError, match="can't be read: Is a directory"):
        load_catalog(tmp_path)


WORDS = ["a", "models", "path", "parallel", "aliases", "defaults", "1", "2020-01-01"]
TAGS = ["&a", "*a", "<<", "!!int", "!!str", "!!binary", "~", "|"]
SIGNS = [*":[]{},>?%'\\\"", " ", "\n", "  ", "- "]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.sampled_from([*WORDS, *TAGS, *SIGNS]), max_size=30))
def test_any_text_is_a_catalog_or_a_mistake(load, pieces):
    with contextlib.suppress(DocumentError):
        load("".join(pieces))
