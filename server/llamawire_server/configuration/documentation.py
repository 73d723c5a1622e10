"""What config.py says about each field: the docstrings under them."""

from __future__ import annotations

import ast
import inspect
import re
from functools import cache
from itertools import pairwise

from llamawire_server import config
from llamawire_server.config import ServerConfig
from llamawire_server.configuration.settings import Setting

# Python's words, and those of who writes YAML.
_WORDS = {"None": "null", "True": "true", "False": "false"}
_PYTHON = re.compile(rf"\b({'|'.join(_WORDS)})\b")


def describe(setting: Setting) -> str:
    """What the setting means, in one line."""
    owner: object = ServerConfig()
    for name in setting.path[:-1]:
        owner = getattr(owner, name)
    return field_documentation(type(owner).__name__)[setting.path[-1]]


@cache
def field_documentation(class_name: str) -> dict[str, str]:
    """What each documented field of a class of config.py means, by the field's name, with YAML's words."""
    module = ast.parse(inspect.getsource(config))
    (body,) = (
        node.body for node in module.body if isinstance(node, ast.ClassDef) and node.name == class_name
    )
    found = {}
    for field, below in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            text = _text(below)
            if text is not None:
                words = " ".join(text.split())
                found[field.target.id] = _PYTHON.sub(lambda word: _WORDS[word[0]], words)
    return found


def _text(node: ast.stmt) -> str | None:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        value = node.value.value
        return value if isinstance(value, str) else None
    return None
