"""What the set-up shows of pip's output while llama.cpp is built."""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterable
from typing import Any

NINJA = ["Collecting llama-cpp-python\n", "Building wheel for llama-cpp-python (pyproject.toml): started\n"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def show(lines: Iterable[str], out: io.StringIO) -> Any:
    progress = importlib.import_module("build_progress").BuildProgress(out, "build/x.log")
    for line in lines:
        progress.feed(line)
    progress.finish()
    return progress


def ninja(total: int) -> list[str]:
    return [*NINJA, *(f"  [{done}/{total}] /usr/bin/g++ -c file.cpp\n" for done in range(1, total + 1))]


def test_a_log_gets_one_line_every_ten_percent() -> None:
    out = io.StringIO()
    progress = show(ninja(193), out)
    lines = out.getvalue().splitlines()
    assert [line.split()[0] for line in lines[1:]] == [str(percent) for percent in range(10, 101, 10)]
    assert progress.has_compiled


def test_how_long_it_takes_is_said_once_and_first() -> None:
    out = io.StringIO()
    show(ninja(20), out)
    assert out.getvalue().count("3 to 9 minutes") == 1
    assert "build/x.log" in out.getvalue().splitlines()[0]


def test_a_terminal_gets_one_line_that_moves() -> None:
    out = Terminal()
    show(ninja(193), out)
    announcement, bar, rest = out.getvalue().split("\n")
    assert "3 to 9 minutes" in announcement
    states = bar.split("\r")[1:]
    assert len(states) == 100, "redrawn when the percentage changes, not for each of the steps"
    assert states[49].startswith("  [###############...............]  50 %")
    assert states[-1].startswith(f"  [{'#' * 30}] 100 %")
    assert rest == ""


def test_a_wheel_that_pip_had_is_no_build() -> None:
    out = io.StringIO()
    progress = show(["Using cached llama_cpp_python-0.3.36-py3-none-linux_x86_64.whl\n"], out)
    assert out.getvalue() == ""
    assert not progress.has_compiled


def test_the_percentages_of_make_do_as_well() -> None:
    out = io.StringIO()
    progress = show(
        ["[  1%] Building C object a.o\n", "[ 57%] Building C object b.o\n", "[100%] Linking\n"], out
    )
    assert [line.split()[0] for line in out.getvalue().splitlines()[1:]] == ["57", "100"]
    assert progress.has_compiled


def test_a_count_that_starts_again_never_goes_back() -> None:
    out = io.StringIO()
    show([*ninja(10), "[1/10] /usr/bin/g++ -c again.cpp\n"], out)
    assert out.getvalue().splitlines()[-1].split()[0] == "100"
