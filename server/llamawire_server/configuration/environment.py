"""The environment's variables: LLAMAWIRE_ and a setting's key."""

from __future__ import annotations

from collections.abc import Mapping

from llamawire_server.configuration.origin import Given, Layer, Origin, Reading
from llamawire_server.configuration.settings import ENVIRONMENT_PREFIX, SETTINGS
from llamawire_server.yaml_document import DocumentError
from llamawire_server.yaml_table import closest

CONFIG_VARIABLE = "LLAMAWIRE_CONFIG"

# The client's.
_OTHERS = ("LLAMAWIRE_TARGET",)

# How like a known name an unknown one must be to be taken for it. Their common beginning is left out.
_SIMILARITY = 0.8


def read_environment(environment: Mapping[str, str]) -> Reading:
    """What the environment sets, and every mistake in it. An empty variable is none."""
    reading = Reading()
    for setting in SETTINGS:
        name = setting.environment_name
        text = environment.get(name, "")
        if not text.strip():
            continue
        try:
            value = setting.kind.parse(setting.kind.split(text), name)
            reading.values[setting.key] = Given(setting.kind.read(value), Origin(Layer.ENVIRONMENT, name))
        except DocumentError as error:
            reading.mistakes.append(error)
    return reading


def find_misspelt(environment: Mapping[str, str]) -> list[str]:
    """What to say about variables that are not known, but are much like ones that are.

    Others are let pass: Kubernetes gives every process LLAMAWIRE_PORT and more where a service is named llamawire.
    """
    meant = {setting.name.upper(): setting.environment_name for setting in SETTINGS}
    for name in (*(setting.environment_name for setting in SETTINGS), CONFIG_VARIABLE):
        meant[name.removeprefix(ENVIRONMENT_PREFIX)] = name
    warnings = []
    for name in sorted(environment):
        if name.startswith(ENVIRONMENT_PREFIX) and name not in (*meant.values(), *_OTHERS):
            near = closest(name.removeprefix(ENVIRONMENT_PREFIX), meant, _SIMILARITY)
            if near:
                warnings.append(f"{name} sets nothing; did you mean {meant[near]}?")
    return warnings
