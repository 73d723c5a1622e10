"""What the end of a trial decode means, and what to do about it."""

from __future__ import annotations

import contextlib
import re
import shlex
import signal
import textwrap
from dataclasses import dataclass
from pathlib import Path

from llamawire_server.doctor.cpu import Cpu, build_arguments, safe_arguments
from llamawire_server.doctor.trial import Trial

# Shared libraries that llama.cpp needs from the system, and the packages that have them.
_PACKAGES = {
    "libgomp": "libgomp1 (Debian, Ubuntu) or libgomp (Fedora, Alpine)",
    "libstdc++": "libstdc++6 (Debian, Ubuntu) or libstdc++ (Fedora, Alpine)",
    "libgcc_s": "libgcc-s1 (Debian, Ubuntu) or libgcc (Fedora, Alpine)",
    "libcuda": "NVIDIA's driver",
    "libcudart": "NVIDIA's CUDA runtime, in the version that llama.cpp was built with",
    "libcublas": "NVIDIA's cuBLAS, in the version that llama.cpp was built with",
    "libvulkan": "libvulkan1 (Debian, Ubuntu) or vulkan-loader (Fedora, Alpine)",
    "libopenblas": "libopenblas0 (Debian, Ubuntu) or openblas (Fedora, Alpine)",
}
# As glibc says it, and as musl does.
_MISSING_LIBRARY = re.compile(
    r"(?P<glibc>lib[\w+.-]+): cannot open shared object file|loading shared library (?P<musl>lib[\w+.-]+)"
)
_MISSING_MODULE = re.compile(r"No module named '([\w.]+)'")
_OTHER_LIBRARY_VERSION = re.compile(r"version [`'](\w+_[\w.]+)' not found")

_MEBIBYTE = 1024 * 1024
_WIDTH = 92


@dataclass(frozen=True)
class Circumstances:
    """What the meaning of a trial's end depends on."""

    cpu: Cpu
    python: Path
    """The interpreter whose llama-cpp-python is on trial."""

    library_version: str | None
    """Its version; None where it is not installed."""

    model: Path
    available_memory_bytes: int | None = None
    user_arguments: str | None = None
    """The user's own CMAKE_ARGS."""


@dataclass(frozen=True)
class Diagnosis:
    """Why a trial failed."""

    symptom: str
    """What was seen, in a few words."""

    cause: str
    """Why, as far as can be told."""

    remedy: tuple[str, ...] = ()
    """What to do, line by line; a line that starts with two spaces is a command."""

    evidence: tuple[str, ...] = ()
    """The last lines of standard error, where they say more."""

    blames_build: bool = False
    """Whether building llama.cpp anew may help."""

    def lines(self) -> list[str]:
        """Cause, evidence and remedy as text to print below the symptom."""
        return [
            *textwrap.wrap(self.cause, _WIDTH, break_long_words=False),
            *(f"| {line}" for line in self.evidence),
            *self.remedy,
        ]


def diagnose(trial: Trial, circumstances: Circumstances) -> Diagnosis:
    """Why `trial`, which did not succeed, ended as it did."""
    if trial.exit_code is None:
        return _took_too_long(trial, circumstances)
    failure = trial.event("failed")
    if failure is not None:
        return _reported(trial, circumstances, str(failure.get("stage")), str(failure.get("detail")))
    if trial.exit_code < 0:
        return _killed(trial, circumstances, -trial.exit_code)
    return Diagnosis(
        f"the probe ended with exit status {trial.exit_code}",
        "It says no more than this:",
        evidence=tuple(trial.last_lines()),
    )


def rebuild_command(circumstances: Circumstances, arguments: list[str]) -> str:
    """The shell command that builds llama.cpp anew with these CMAKE_ARGS, past pip's cache of built wheels."""
    user = circumstances.user_arguments
    cmake_args = " ".join([*([user] if user else []), *arguments])
    # In double quotes, as people know it, where no character in it has a meaning there.
    quoted = shlex.quote(cmake_args) if re.search(r'["$`\\]', cmake_args) else f'"{cmake_args}"'
    version = circumstances.library_version
    requirement = f'"llama-cpp-python=={version}"' if version else "llama-cpp-python"
    return (
        (f"CMAKE_ARGS={quoted} " if cmake_args else "")
        + f"{shlex.quote(str(circumstances.python))} -m pip install --force-reinstall --no-deps --no-cache-dir "
        + f"--no-binary llama-cpp-python {requirement}"
    )


def _killed(trial: Trial, circumstances: Circumstances, number: int) -> Diagnosis:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    if name == "SIGILL":
        return _illegal_instruction(trial, circumstances)
    if name == "SIGKILL":
        return _out_of_memory(circumstances)
    causes = {
        "SIGABRT": "llama.cpp stopped itself: a check of its own failed. Its last words:",
        "SIGSEGV": "llama.cpp touched memory that is not its own: a damaged model file or a broken build.",
    }
    return Diagnosis(
        f"the decode died of {name}",
        causes.get(name, "Nothing in llamawire sends this signal. Its last words:"),
        (
            "Try another model (--model). If that works, this model's file is damaged or too new for this",
            "llama.cpp. If it doesn't, build llama.cpp anew:",
            f"  {rebuild_command(circumstances, build_arguments(circumstances.cpu))}",
        ),
        tuple(trial.last_lines()),
        blames_build=True,
    )


def _illegal_instruction(trial: Trial, circumstances: Circumstances) -> Diagnosis:
    cpu = circumstances.cpu
    arguments = build_arguments(cpu)
    # llama.cpp names AMX among its features only if it was built with it.
    built_with_amx = trial.system_info is None or "AMX_" in trial.system_info
    if cpu.has_amx and built_with_amx:
        cause = (
            "This CPU has AMX, and llama.cpp's default build uses it. Compiled by GCC 12, that code dies at the "
            "first decode, because the compiler removes the set-up of AMX's tiles (ggml-org/llama.cpp, pull "
            "request 26954). Build llama.cpp for this CPU without AMX:"
        )
    else:
        cause = (
            "llama.cpp was built for another CPU: it used an instruction that this one doesn't have. pip keeps "
            "wheels that it built, and they travel with its cache and with container images. Build it here:"
        )
    return Diagnosis(
        "the decode died of SIGILL, an illegal instruction",
        cause,
        (
            f"  {rebuild_command(circumstances, arguments)}",
            "If that dies as well, build with nothing newer than AVX2:",
            f"  {rebuild_command(circumstances, safe_arguments(cpu))}",
        ),
        blames_build=True,
    )


def _out_of_memory(circumstances: Circumstances) -> Diagnosis:
    sizes = []
    with contextlib.suppress(OSError):
        sizes.append(f"the model's file has {circumstances.model.stat().st_size // _MEBIBYTE:,} MiB")
    if circumstances.available_memory_bytes is not None:
        sizes.append(f"{circumstances.available_memory_bytes // _MEBIBYTE:,} MiB of memory are available")
    return Diagnosis(
        "the decode was killed (SIGKILL)",
        "Most likely the system or the container ran out of memory"
        + (f": {', '.join(sizes)}." if sizes else "."),
        ("Give it more memory, or choose a smaller model or a stronger quantisation.",),
    )


def _took_too_long(trial: Trial, circumstances: Circumstances) -> Diagnosis:
    return Diagnosis(
        "the decode did not end in time",
        "Either something else keeps the cores busy, or the model is too large for this machine.",
        (
            "Look at the machine's load, and try a smaller model (--model).",
            "If the machine is idle, build llama.cpp anew:",
            f"  {rebuild_command(circumstances, build_arguments(circumstances.cpu))}",
        ),
        tuple(trial.last_lines()),
    )


def _reported(trial: Trial, circumstances: Circumstances, stage: str, detail: str) -> Diagnosis:
    rebuild = f"  {rebuild_command(circumstances, build_arguments(circumstances.cpu))}"
    if stage == "import":
        return _not_importable(circumstances, detail, rebuild)
    if stage == "logits":
        return Diagnosis(
            "the model's numbers are not finite",
            "llama.cpp computes wrongly here: a broken build, or a damaged model file.",
            ("Try another model (--model). If that fails too, build llama.cpp anew:", rebuild),
            blames_build=True,
        )
    return Diagnosis(
        detail,
        "llama.cpp could not use the model. Its last words:",
        ("Check that the file is a whole GGUF of a model that generates text, and that memory suffices.",),
        tuple(trial.last_lines()),
    )


def _not_importable(circumstances: Circumstances, detail: str, rebuild: str) -> Diagnosis:
    missing_module = _MISSING_MODULE.search(detail)
    if circumstances.library_version is None or missing_module:
        name = missing_module[1].partition(".")[0] if missing_module else "llama_cpp"
        name = "llama-cpp-python" if name == "llama_cpp" else name
        return Diagnosis(
            f"{name} is not installed",
            detail,
            (f"  {shlex.quote(str(circumstances.python))} -m pip install 'llamawire[server]'",),
        )
    missing_library = _MISSING_LIBRARY.search(detail)
    library = (missing_library["glibc"] or missing_library["musl"]) if missing_library else ""
    if library and not library.startswith(("libllama", "libggml", "libmtmd")):
        package = _PACKAGES.get(library.partition(".so")[0], f"the package that has {library}")
        return Diagnosis(
            f"llama.cpp needs {library}, which this system doesn't have", detail, (f"Install {package}.",)
        )
    other_version = _OTHER_LIBRARY_VERSION.search(detail)
    if other_version:
        cause = f"llama.cpp was built on a newer system: this one's libraries have no {other_version[1]}."
    else:
        cause = f"llama-cpp-python is installed, but its library doesn't load: {detail}"
    return Diagnosis(
        "llama.cpp could not be loaded", cause, ("Build it on this machine:", rebuild), blames_build=True
    )
