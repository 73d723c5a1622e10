"""Functions, schemas and grammars, for requests."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from llamawire import call, function, grammar, json_schema, request
from llamawire.v1 import chat_pb2


@dataclass
class Place:
    city: str


PLACE = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("parameters", [Place, PLACE, json.dumps(PLACE)])
def test_a_function(parameters):
    built = function("weather", "The weather in a city.", parameters, strict=True).function

    assert (built.name, built.description, built.strict) == ("weather", "The weather in a city.", True)
    assert json.loads(built.parameters) == PLACE


def test_a_function_without_arguments():
    assert function("now") == chat_pb2.Tool(function=chat_pb2.FunctionDefinition(name="now"))


@pytest.mark.parametrize("schema", [Place, PLACE, json.dumps(PLACE)])
def test_a_schema(schema):
    built = json_schema(schema).json_schema

    assert json.loads(built.schema) == PLACE
    assert built.name == ("Place" if schema is Place else "answer")
    assert not built.HasField("strict")
    assert json_schema(schema, "where", description="d", strict=False).json_schema.name == "where"


def test_a_grammar():
    assert grammar("a+", "regex").grammar == chat_pb2.GrammarFormat(
        grammar="a+", syntax=chat_pb2.GrammarFormat.SYNTAX_REGEX
    )
    assert grammar('root ::= "a"').grammar.syntax == chat_pb2.GrammarFormat.SYNTAX_GBNF
    with pytest.raises(ValueError, match="yacc"):
        grammar("x", "yacc")


def test_they_are_options_of_a_request():
    built = request(tools=[function("weather", parameters=Place)], tool_choice=call("weather"))
    assert built.tool_choice.function_name == built.tools[0].function.name == "weather"
    assert json.loads(request(response_format=Place).response_format.json_schema.schema) == PLACE
