"""What is in force: the defaults, overridden by the file, the environment and the command line, in this order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llamawire_server.config import HOME, ServerConfig
from llamawire_server.configuration.environment import CONFIG_VARIABLE, find_misspelt, read_environment
from llamawire_server.configuration.file import read_file
from llamawire_server.configuration.options import GivenOption
from llamawire_server.configuration.origin import Given, Layer, Origin, Reading
from llamawire_server.configuration.settings import BY_KEY, SETTINGS, assemble
from llamawire_server.yaml_document import DocumentError

USUAL_FILE = HOME / "config.yaml"


class ConfigurationError(ValueError):
    """The configuration is wrong; `mistakes` says each thing that is, with where it is."""

    def __init__(self, mistakes: tuple[str, ...]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True)
class Configuration:
    """What is in force, and why."""

    values: Mapping[str, Given]
    """Of every setting, by key."""

    file: Path | None
    """The configuration file that was read."""

    warnings: tuple[str, ...] = ()

    @property
    def server(self) -> ServerConfig:
        """The values in their places."""
        return assemble({key: given.value for key, given in self.values.items()})


def load_configuration(
    options: Mapping[str, GivenOption],
    environment: Mapping[str, str],
    file: Path | None = None,
    usual_file: Path | None = None,
) -> Configuration:
    """Read every layer.

    options: what the command line sets, by key.
    file: the configuration file. None: the one that the environment names, else the usual one, if it is there.
    usual_file: another usual one than the user's.

    Raises `ConfigurationError`, with every mistake of every layer.
    """
    file = file or _find_file(environment, usual_file or USUAL_FILE)
    if file is not None:
        file = _expanded(file)
    layers = [read_file(file)] if file else []
    layers += [read_environment(environment), _read_options(options)]
    mistakes = tuple(str(mistake) for layer in layers for mistake in layer.mistakes)
    if mistakes:
        raise ConfigurationError(mistakes)
    values = {setting.key: Given(setting.default, Origin(Layer.DEFAULT)) for setting in SETTINGS}
    for layer in layers:
        values |= layer.values
    return Configuration(values, file, tuple(find_misspelt(environment)))


def _find_file(environment: Mapping[str, str], usual_file: Path) -> Path | None:
    if named := environment.get(CONFIG_VARIABLE, "").strip():
        return Path(named)
    try:
        return usual_file if usual_file.exists() else None
    except OSError:  # in a home that is somebody else's
        return None


def _expanded(file: Path) -> Path:
    try:
        return file.expanduser().absolute()
    except RuntimeError:  # there is no such user, so that there is no such file either
        return file


def _read_options(options: Mapping[str, GivenOption]) -> Reading:
    reading = Reading()
    for key, option in options.items():
        kind = BY_KEY[key].kind
        try:
            value = kind.read(kind.parse(option.texts, option.flag))
            reading.values[key] = Given(value, Origin(Layer.COMMAND_LINE, option.flag))
        except DocumentError as error:
            reading.mistakes.append(error)
    return reading
