"""Rules in llguidance's dialect of Lark."""

from __future__ import annotations

from collections.abc import Mapping

from llamawire_server.chat.gbnf.characters import expression
from llamawire_server.chat.gbnf.nodes import Characters, Choice, Lexeme, Node, Reference, Repeat, Sequence


def write(rules: Mapping[str, Node], root: str) -> str:
    """A grammar whose rule `start` is the root. rules: whose characters are all in lexemes."""
    names = {name: f"r{number}" for number, name in enumerate(rules)}
    names[root] = "start"
    return "".join(f"{names[name]}: {_options(rule, names)}\n" for name, rule in rules.items())


def _options(node: Node, names: Mapping[str, str]) -> str:
    options = node.options if isinstance(node, Choice) else (node,)
    return " | ".join(_rule(option, names) for option in options)


def _rule(node: Node, names: Mapping[str, str]) -> str:
    match node:
        case Lexeme(part):
            return f"/{_expression(part)}/"
        case Reference(name):
            return names[name]
        case Sequence(parts):
            return " ".join(_rule(part, names) for part in parts) if parts else '""'
        case Choice():
            return f"({_options(node, names)})"
        case Repeat(Lexeme() | Reference() | Choice() as part, least, most):
            return _rule(part, names) + _times(least, most)
        case Repeat(part, least, most):
            return f"({_rule(part, names)}){_times(least, most)}"
        case _:
            raise AssertionError(f"{node} is in no lexeme")


def _expression(node: Node) -> str:
    match node:
        case Characters(ranges):
            return expression(ranges)
        case Sequence(parts):
            return "".join(map(_expression, parts))
        case Choice(options):
            return f"(?:{'|'.join(map(_expression, options))})"
        case Repeat(Characters(ranges), least, most):
            return expression(ranges) + _times(least, most)
        case Repeat(part, least, most):
            return f"(?:{_expression(part)}){_times(least, most)}"
        case _:
            raise AssertionError(f"{node} is not regular")


def _times(least: int, most: int | None) -> str:
    match least, most:
        case 0, 1:
            return "?"
        case 0, None:
            return "*"
        case 1, None:
            return "+"
    return f"{{{least}}}" if least == most else f"{{{least},{'' if most is None else most}}}"
