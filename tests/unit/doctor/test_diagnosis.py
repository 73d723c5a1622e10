"""What the end of a trial decode is taken to mean."""

from __future__ import annotations

import json
import shlex
import signal
from pathlib import Path

import pytest

from llamawire_server.doctor.cpu import Cpu
from llamawire_server.doctor.diagnosis import Circumstances, Diagnosis, diagnose
from llamawire_server.doctor.trial import Trial

AMX = Cpu(
    "Linux",
    "x86_64",
    frozenset(
        ["sse4_2", "avx", "avx2", "avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw", "amx_int8"]
    ),
)
PLAIN = Cpu("Linux", "x86_64", frozenset(["sse4_2", "avx", "avx2"]))


def circumstances(
    cpu: Cpu = PLAIN,
    model: Path = Path("/models/tiny.gguf"),
    library_version: str | None = "0.3.36",
    available_memory_bytes: int | None = None,
    user_arguments: str | None = None,
) -> Circumstances:
    return Circumstances(
        cpu, Path("/venv/bin/python"), library_version, model, available_memory_bytes, user_arguments
    )


def event(name: str, **details: object) -> str:
    return json.dumps({"event": name, **details}) + "\n"


def killed_by(number: signal.Signals, stdout: str = "", stderr: str = "") -> Trial:
    return Trial(-number, stdout, stderr)


def failed(stage: str, detail: str, stderr: str = "") -> Trial:
    return Trial(1, event("failed", stage=stage, detail=detail), stderr)


def commands(diagnosis: Diagnosis) -> list[list[str]]:
    """The remedy's commands, as a shell would split them."""
    return [shlex.split(line) for line in diagnosis.remedy if line.startswith("  ")]


def test_sigill_on_a_cpu_with_amx_names_amx_and_the_build_without_it() -> None:
    diagnosis = diagnose(killed_by(signal.SIGILL), circumstances(AMX))
    assert "SIGILL" in diagnosis.symptom
    assert "AMX" in diagnosis.cause
    assert "26954" in diagnosis.cause
    assert diagnosis.blames_build
    first, second = commands(diagnosis)
    assert first[0].startswith("CMAKE_ARGS=-DGGML_NATIVE=OFF -DGGML_SSE42=ON")
    assert "-DGGML_AVX512=ON" in first[0]
    assert first[1:] == [
        *("/venv/bin/python", "-m", "pip", "install", "--force-reinstall", "--no-deps", "--no-cache-dir"),
        *("--no-binary", "llama-cpp-python", "llama-cpp-python==0.3.36"),
    ]
    assert "-DGGML_AVX512=OFF" in second[0]


def test_sigill_of_a_build_that_says_it_has_amx_names_amx() -> None:
    stdout = event("library", system_info="CPU : AVX512 = 1 | AMX_INT8 = 1 | OPENMP = 1 | ")
    assert "AMX" in diagnose(killed_by(signal.SIGILL, stdout), circumstances(AMX)).cause


def test_sigill_of_a_build_that_has_no_amx_blames_another_cpu() -> None:
    stdout = event("library", system_info="CPU : AVX512 = 1 | AVX512_BF16 = 1 | OPENMP = 1 | ")
    diagnosis = diagnose(killed_by(signal.SIGILL, stdout), circumstances(AMX))
    assert "AMX" not in diagnosis.cause
    assert "another CPU" in diagnosis.cause
    assert diagnosis.blames_build


def test_sigill_on_a_cpu_without_amx_blames_another_cpu() -> None:
    diagnosis = diagnose(killed_by(signal.SIGILL), circumstances(PLAIN))
    assert "another CPU" in diagnosis.cause
    assert "AMX" not in diagnosis.cause
    # llama.cpp's default build suits this CPU: it has to be made here, not otherwise.
    assert commands(diagnosis)[0][0] == "/venv/bin/python"


def test_the_users_own_arguments_are_kept_when_rebuilding() -> None:
    diagnosis = diagnose(killed_by(signal.SIGILL), circumstances(AMX, user_arguments="-DGGML_CUDA=ON"))
    assert commands(diagnosis)[0][0].startswith("CMAKE_ARGS=-DGGML_CUDA=ON -DGGML_NATIVE=OFF")


def test_arguments_with_quotes_survive_the_shell() -> None:
    given = '-DCMAKE_C_FLAGS="-O2 -g" -DX=$Y'
    diagnosis = diagnose(killed_by(signal.SIGILL), circumstances(PLAIN, user_arguments=given))
    assert commands(diagnosis)[0][0] == f"CMAKE_ARGS={given}"


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS])
def test_another_signal_is_named_with_the_last_words(number: signal.Signals) -> None:
    stderr = "".join(f"line {count}\n" for count in range(20)) + "GGML_ASSERT(n > 0) failed\n\n"
    diagnosis = diagnose(killed_by(number, stderr=stderr), circumstances())
    assert number.name in diagnosis.symptom
    assert diagnosis.evidence[-1] == "GGML_ASSERT(n > 0) failed"
    assert "line 0" not in diagnosis.evidence
    assert diagnosis.blames_build


def test_a_signal_without_a_name_is_given_by_number() -> None:
    assert "signal 40" in diagnose(Trial(-40, "", ""), circumstances()).symptom


def test_sigkill_suggests_memory_with_both_sizes(tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    with model.open("wb") as file:
        file.truncate(3 * 1024**2)
    diagnosis = diagnose(
        killed_by(signal.SIGKILL), circumstances(model=model, available_memory_bytes=2 * 1024**2)
    )
    assert "memory" in diagnosis.cause
    assert "3 MiB" in diagnosis.cause
    assert "2 MiB" in diagnosis.cause
    assert not diagnosis.blames_build


def test_a_missing_llama_cpp_python_is_to_be_installed() -> None:
    diagnosis = diagnose(failed("import", "No module named 'llama_cpp'"), circumstances(library_version=None))
    assert diagnosis.symptom == "llama-cpp-python is not installed"
    assert commands(diagnosis) == [["/venv/bin/python", "-m", "pip", "install", "llamawire[server]"]]


def test_a_missing_dependency_of_llama_cpp_python_is_named() -> None:
    diagnosis = diagnose(failed("import", "No module named 'numpy.core'"), circumstances())
    assert diagnosis.symptom == "numpy is not installed"
    assert not diagnosis.blames_build


@pytest.mark.parametrize(
    ("detail", "library", "package"),
    [
        (
            "Failed to load shared library '/venv/libllama.so': libgomp.so.1: cannot open shared object file: No",
            "libgomp.so.1",
            "libgomp1",
        ),
        ("libstdc++.so.6: cannot open shared object file: No such file", "libstdc++.so.6", "libstdc++6"),
        ("libcudart.so.12: cannot open shared object file: No such file", "libcudart.so.12", "CUDA runtime"),
        ("Error loading shared library libgomp.so.1: No such file (needed by x)", "libgomp.so.1", "libgomp1"),
        ("libodd.so.3: cannot open shared object file: No such file", "libodd.so.3", "the package that has"),
    ],
)
def test_a_missing_system_library_is_named_with_its_package(detail: str, library: str, package: str) -> None:
    diagnosis = diagnose(failed("import", detail), circumstances())
    assert library in diagnosis.symptom
    assert package in diagnosis.remedy[0]
    assert not diagnosis.blames_build


@pytest.mark.parametrize(
    ("detail", "cause"),
    [
        (
            "Shared library with base name 'llama' not found",
            "Shared library with base name 'llama' not found",
        ),
        ("libggml-base.so.0: cannot open shared object file: No such file", "libggml-base.so.0"),
        (
            "/lib/libstdc++.so.6: version `GLIBCXX_3.4.32' not found (required by libllama.so)",
            "GLIBCXX_3.4.32",
        ),
    ],
)
def test_a_library_that_does_not_fit_is_built_anew(detail: str, cause: str) -> None:
    diagnosis = diagnose(failed("import", detail), circumstances())
    assert diagnosis.symptom == "llama.cpp could not be loaded"
    assert cause in diagnosis.cause
    assert diagnosis.blames_build
    assert "llama-cpp-python==0.3.36" in commands(diagnosis)[0]


def test_a_time_out_blames_load_or_size() -> None:
    diagnosis = diagnose(Trial(None, "", "loading\n"), circumstances())
    assert diagnosis.symptom == "the decode did not end in time"
    assert diagnosis.evidence == ("loading",)
    assert not diagnosis.blames_build


def test_numbers_that_are_not_finite_blame_the_build() -> None:
    diagnosis = diagnose(failed("logits", "the logits are not finite"), circumstances())
    assert "not finite" in diagnosis.symptom
    assert diagnosis.blames_build


def test_a_model_that_does_not_load_is_not_the_builds_fault() -> None:
    trial = failed("load", "llama.cpp could not load /models/tiny.gguf", "failed to read header\n")
    diagnosis = diagnose(trial, circumstances())
    assert diagnosis.symptom == "llama.cpp could not load /models/tiny.gguf"
    assert diagnosis.evidence == ("failed to read header",)
    assert not diagnosis.blames_build


def test_an_exit_without_a_word_shows_what_there_is() -> None:
    diagnosis = diagnose(Trial(2, "", "Traceback\nMemoryError\n"), circumstances())
    assert "exit status 2" in diagnosis.symptom
    assert diagnosis.evidence == ("Traceback", "MemoryError")


def test_the_text_has_cause_then_evidence_then_remedy() -> None:
    diagnosis = Diagnosis("symptom", "cause", ("remedy", "  command"), ("last words",))
    assert diagnosis.lines() == ["cause", "| last words", "remedy", "  command"]
