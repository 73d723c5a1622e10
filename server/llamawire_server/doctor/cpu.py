"""What this machine's CPU can do, and how llama.cpp is to be built for it."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

# ggml's build options and the flags of /proc/cpuinfo that each needs. GGML_AVX512 turns on five extensions
# at once, and those below it are only of use together with it.
_AVX512 = ("avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw")
_OPTIONS = {
    "GGML_SSE42": ("sse4_2",),
    "GGML_AVX": ("avx",),
    "GGML_AVX2": ("avx2",),
    "GGML_BMI2": ("bmi2",),
    "GGML_FMA": ("fma",),
    "GGML_F16C": ("f16c",),
    "GGML_AVX_VNNI": ("avx_vnni",),
    "GGML_AVX512": _AVX512,
    "GGML_AVX512_VBMI": (*_AVX512, "avx512vbmi"),
    "GGML_AVX512_VNNI": (*_AVX512, "avx512_vnni"),
    "GGML_AVX512_BF16": (*_AVX512, "avx512_bf16"),
}
_BEYOND_AVX2 = ("GGML_AVX_VNNI", "GGML_AVX512")

_NOT_NATIVE = "-DGGML_NATIVE=OFF"


@dataclass(frozen=True)
class Cpu:
    """The CPU that this process runs on."""

    system: str
    """The operating system's kernel, as `platform.system()` names it."""

    machine: str
    """The instruction set, as `platform.machine()` names it."""

    flags: frozenset[str] = frozenset()
    """Features by the kernel's names; known on Linux only."""

    @property
    def has_amx(self) -> bool:
        """Whether it has Intel's matrix extensions, of any kind."""
        return any(flag.startswith("amx_") for flag in self.flags)

    @property
    def is_linux_x86(self) -> bool:
        """Whether its features are known by the names that this module works with."""
        return self.system == "Linux" and self.machine in ("x86_64", "AMD64")


def this_cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> Cpu:
    """The CPU of this machine; without flags where the kernel doesn't tell them."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return Cpu(platform.system(), platform.machine(), frozenset(flags))


def build_arguments(cpu: Cpu, user_arguments: str | None = None) -> list[str]:
    """The CMAKE_ARGS to add for a llama.cpp that works on `cpu`.

    None where the user's own say how to build, and where llama.cpp's default is right: it compiles for the
    machine it is built on.

    That default is wrong on CPUs with AMX: GCC 12 optimises the set-up of the AMX tiles away, and the first
    decode dies with SIGILL (ggml-org/llama.cpp, pull request 26954). The build can't be told to leave AMX
    alone and take the rest, so there every feature but AMX is named.
    """
    if user_arguments or not (cpu.is_linux_x86 and cpu.has_amx):
        return []
    return [_NOT_NATIVE, *_switches(cpu, tuple(_OPTIONS))]


def safe_arguments(cpu: Cpu) -> list[str]:
    """The CMAKE_ARGS for a slower llama.cpp with nothing newer than AVX2, for when a better one still dies."""
    if not (cpu.is_linux_x86 and cpu.flags):
        return [_NOT_NATIVE]
    return [
        _NOT_NATIVE,
        *_switches(cpu, tuple(option for option in _OPTIONS if not option.startswith(_BEYOND_AVX2))),
    ]


def _switches(cpu: Cpu, allowed: tuple[str, ...]) -> list[str]:
    """Every option, on or off: once GGML_NATIVE is off, what is not named may be on by default."""
    return [
        f"-D{option}={'ON' if option in allowed and cpu.flags.issuperset(needed) else 'OFF'}"
        for option, needed in _OPTIONS.items()
    ]
