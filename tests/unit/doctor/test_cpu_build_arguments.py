"""Which CMAKE_ARGS a CPU needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import llamawire_server
from llamawire_server.doctor.cpu import Cpu, build_arguments, safe_arguments, this_cpu

AVX2 = frozenset(["sse4_2", "avx", "avx2", "bmi2", "fma", "f16c"])
AVX512 = AVX2 | {"avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw"}
SAPPHIRE_RAPIDS = AVX512 | {
    *("avx512vbmi", "avx512_vnni", "avx512_bf16", "avx_vnni"),
    *("amx_tile", "amx_int8", "amx_bf16"),
}


def linux(flags: frozenset[str]) -> Cpu:
    return Cpu("Linux", "x86_64", flags)


def test_a_cpu_without_amx_is_left_to_the_default_build() -> None:
    assert build_arguments(linux(AVX512)) == []


def test_amx_is_avoided_and_every_other_feature_named() -> None:
    assert build_arguments(linux(SAPPHIRE_RAPIDS)) == [
        "-DGGML_NATIVE=OFF",
        "-DGGML_SSE42=ON",
        "-DGGML_AVX=ON",
        "-DGGML_AVX2=ON",
        "-DGGML_BMI2=ON",
        "-DGGML_FMA=ON",
        "-DGGML_F16C=ON",
        "-DGGML_AVX_VNNI=ON",
        "-DGGML_AVX512=ON",
        "-DGGML_AVX512_VBMI=ON",
        "-DGGML_AVX512_VNNI=ON",
        "-DGGML_AVX512_BF16=ON",
    ]


def test_features_that_an_amx_cpu_lacks_are_switched_off() -> None:
    arguments = build_arguments(linux(SAPPHIRE_RAPIDS - {"avx512_bf16", "avx_vnni"}))
    assert "-DGGML_AVX512_BF16=OFF" in arguments
    assert "-DGGML_AVX_VNNI=OFF" in arguments


def test_avx512_needs_all_five_of_its_parts() -> None:
    arguments = build_arguments(linux(SAPPHIRE_RAPIDS - {"avx512dq"}))
    assert "-DGGML_AVX2=ON" in arguments
    assert [argument for argument in arguments if "AVX512" in argument and argument.endswith("=ON")] == []


def test_the_users_own_arguments_stand_alone() -> None:
    assert build_arguments(linux(SAPPHIRE_RAPIDS), "-DGGML_CUDA=ON") == []


def test_empty_arguments_of_the_users_say_nothing() -> None:
    assert build_arguments(linux(SAPPHIRE_RAPIDS), "") != []


@pytest.mark.parametrize(
    ("system", "machine"), [("Darwin", "arm64"), ("Darwin", "x86_64"), ("Linux", "aarch64")]
)
def test_other_platforms_are_left_to_the_default_build(system: str, machine: str) -> None:
    assert build_arguments(Cpu(system, machine, SAPPHIRE_RAPIDS)) == []
    assert safe_arguments(Cpu(system, machine)) == ["-DGGML_NATIVE=OFF"]


def test_the_safe_build_has_nothing_newer_than_avx2() -> None:
    switched_on = {
        argument for argument in safe_arguments(linux(SAPPHIRE_RAPIDS)) if argument.endswith("=ON")
    }
    assert switched_on == {
        *("-DGGML_SSE42=ON", "-DGGML_AVX=ON", "-DGGML_AVX2=ON"),
        *("-DGGML_BMI2=ON", "-DGGML_FMA=ON", "-DGGML_F16C=ON"),
    }


def test_the_safe_build_has_nothing_that_an_old_cpu_lacks() -> None:
    switched_on = [
        argument
        for argument in safe_arguments(linux(frozenset(["sse4_2", "avx"])))
        if argument.endswith("=ON")
    ]
    assert switched_on == ["-DGGML_SSE42=ON", "-DGGML_AVX=ON"]


def test_flags_are_read_from_the_kernels_list(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nvmx flags\t: vnmi\nflags\t\t: fpu avx2 amx_tile\n\nprocessor\t: 1\n")
    cpu = this_cpu(cpuinfo)
    assert cpu.flags == {"fpu", "avx2", "amx_tile"}
    assert cpu.has_amx


def test_a_machine_that_tells_no_flags_has_none(tmp_path: Path) -> None:
    assert this_cpu(tmp_path / "absent").flags == frozenset()


def test_the_doctor_needs_nothing_installed() -> None:
    """The set-up imports it before there is an environment: `-S` leaves site-packages out."""
    folder = Path(llamawire_server.__file__).parent.parent
    code = (
        f"import sys; sys.path.insert(0, {str(folder)!r})\n"
        "from llamawire_server import machine\n"
        "from llamawire_server.doctor import command, cpu, diagnosis, model_file, trial\n"
    )
    child = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr
