"""What `llamawire-server config` prints."""

from __future__ import annotations

import json

import yaml

from llamawire_server.configuration.documentation import describe
from llamawire_server.configuration.kinds import Plain
from llamawire_server.configuration.layers import USUAL_FILE, Configuration
from llamawire_server.configuration.settings import BY_KEY
from llamawire_server.machine import amount_bytes, memory

_ONE_LINE = 2**31 - 1
_GIBIBYTE = 1024**3
_BUDGET_KEY = "pool.memory_budget"


def as_yaml(configuration: Configuration) -> str:
    """A configuration file that sets every setting to what it is now; comments say what it is, and why it is so."""
    file = configuration.file or f"none; there is no {USUAL_FILE}"
    lines = [f"# The configuration file: {file}"]
    section = ""
    for key, given in configuration.values.items():
        setting = BY_KEY[key]
        lines.append("")
        if setting.section != section:
            section = setting.section
            lines.append(f"{section}:")
        indent = "  " if section else ""
        lines.append(f"{indent}# {describe(setting)}")
        remark = f"; {_budget_bytes(configuration) / _GIBIBYTE:.1f} GiB here" if key == _BUDGET_KEY else ""
        lines.append(
            f"{indent}{setting.name}: {to_yaml(setting.plain(given.value))}  # {given.origin}{remark}"
        )
    return "\n".join(lines) + "\n"


def as_json(configuration: Configuration) -> str:
    """The same for programs."""
    settings = {}
    for key, given in configuration.values.items():
        origin: dict[str, object] = {"layer": given.origin.layer.value}
        if given.origin.name:
            origin["name"] = given.origin.name
        if given.origin.path:
            origin |= {"path": str(given.origin.path), "line": given.origin.line}
        settings[key] = {"value": BY_KEY[key].plain(given.value), "origin": origin}
    file = str(configuration.file) if configuration.file else None
    whole = {"file": file, "memory_budget_bytes": _budget_bytes(configuration), "settings": settings}
    return json.dumps(whole, indent=2) + "\n"


def to_yaml(plain: Plain) -> str:
    """A value in one line."""
    text = _dump(plain, style=None)
    return text if len(text.splitlines()) == 1 else _dump(plain, style='"')


def _budget_bytes(configuration: Configuration) -> int:
    return amount_bytes(configuration.server.pool.memory_budget, memory())


def _dump(plain: Plain, style: str | None) -> str:
    text = yaml.safe_dump(
        plain,
        default_flow_style=True,
        default_style=style,
        allow_unicode=True,
        sort_keys=False,
        width=_ONE_LINE,
    )
    return text.removesuffix("\n").removesuffix("\n...")
