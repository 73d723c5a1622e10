"""llama.cpp's log in our hands."""

from __future__ import annotations

import ctypes
import gc

import pytest

pytest.importorskip("llama_cpp", reason="it is llama.cpp's log; these tests need no model")

import llama_cpp

from llamawire_server.engine.runner.model import EngineLog


def test_llama_cpp_may_log_when_everybody_has_let_go_of_the_log() -> None:
    lines: list[tuple[int, str]] = []
    EngineLog(lambda level, line: lines.append((level, line)))
    gc.collect()
    callback = llama_cpp.llama_log_callback()
    user_data = ctypes.c_void_p()
    # What llama.cpp was given, as it has it.
    llama_cpp.llama_log_get(ctypes.byref(callback), ctypes.byref(user_data))
    callback(2, b"a line\n", None)
    assert lines == [(2, "a line")]
