"""For each field of OpenAI's requests, two requests that differ in it alone.

Of a field that is refused the first one is enough.
"""

from __future__ import annotations

from typing import Any

from openai_fields import holders

Fields = dict[str, Any]
Probe = tuple[Fields, Fields]

USER: Fields = {"role": "user", "content": "Hi"}
BASE: Fields = {"model": "m", "messages": [USER], "seed": 1}

BREAKPOINT: Fields = {"mode": "explicit", "ttl": "30m"}
MODERATION: Fields = {
    "model": "omni-moderation-latest",
    "policy": {"input": {"mode": "score"}, "output": {"mode": "block"}},
}
PLACE: Fields = {"city": "Rome", "country": "IT", "region": "Lazio", "timezone": "Europe/Rome"}
SEARCH: Fields = {
    "search_context_size": "low",
    "user_location": {"type": "approximate", "approximate": PLACE},
}
VOICE: Fields = {"format": "wav", "voice": {"id": "voice_1"}}


def says(**message: Any) -> Fields:
    """A conversation of one message."""
    return {"messages": [{**USER, **message}]}


def part(role: str = "user", **fields: Any) -> Fields:
    """A conversation of one message of one part."""
    return says(role=role, content=[fields])


def text(**fields: Any) -> Fields:
    return part(type="text", **{"text": "a", **fields})


def image() -> Fields:
    return part(
        type="image_url", image_url={"url": "data:,", "detail": "low"}, prompt_cache_breakpoint=BREAKPOINT
    )


def sound() -> Fields:
    return part(
        type="input_audio",
        input_audio={"data": "AAAA", "format": "wav"},
        prompt_cache_breakpoint=BREAKPOINT,
    )


def file() -> Fields:
    return part(
        type="file",
        file={"file_data": "AAAA", "file_id": "file-1", "filename": "a.txt"},
        prompt_cache_breakpoint=BREAKPOINT,
    )


def called(id: str = "a", name: str = "f", arguments: str = "{}") -> Fields:
    """An assistant's message that calls a function."""
    call = {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "tool_calls": [call]}


def called_custom() -> Fields:
    call = {"id": "a", "type": "custom", "custom": {"name": "f", "input": "x"}}
    return {"messages": [{"role": "assistant", "tool_calls": [call]}]}


def called_before(name: str = "f", arguments: str = "{}") -> Fields:
    """The same in the older form."""
    return {"role": "assistant", "function_call": {"name": name, "arguments": arguments}}


def history(*messages: Fields) -> Fields:
    return {"messages": [USER, *messages]}


def two_calls(answered: str) -> Fields:
    """Two calls, one of which is answered."""
    both = called("a")
    both["tool_calls"] += called("b")["tool_calls"]
    return history(both, {"role": "tool", "tool_call_id": answered, "content": "1"})


def function(name: str = "f", **fields: Any) -> Fields:
    return {"type": "function", "function": {"name": name, **fields}}


def tools(*entries: Fields, **fields: Any) -> Fields:
    return {"tools": list(entries), **fields}


def custom_tool() -> Fields:
    grammar = {"type": "grammar", "grammar": {"definition": "start: /a/", "syntax": "lark"}}
    return tools({"type": "custom", "custom": {"name": "f", "description": "d", "format": grammar}})


def custom_text_tool() -> Fields:
    return tools({"type": "custom", "custom": {"name": "f", "format": {"type": "text"}}})


def chosen(choice: Any) -> Fields:
    """A choice between two tools."""
    return tools(function("f"), function("g"), tool_choice=choice)


def allowed(mode: str = "auto", *names: str) -> Fields:
    chosen_tools = [function(name) for name in names or ("f",)]
    return chosen({"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": chosen_tools}})


def functions(*entries: Fields, **fields: Any) -> Fields:
    return {"functions": list(entries), **fields}


def form(**fields: Any) -> Fields:
    return {"response_format": fields}


def schema(**fields: Any) -> Fields:
    return form(type="json_schema", json_schema={"name": "a", "schema": {"type": "object"}, **fields})


def predicted(content: Any) -> Fields:
    return {"prediction": {"type": "content", "content": content}}


def predicted_text(**fields: Any) -> Fields:
    return predicted([{"type": "text", "text": "a", **fields}])


def streamed(**options: Any) -> Fields:
    return {"stream": True, "stream_options": options}


OBJECT: Fields = {"type": "object", "properties": {"a": {"type": "integer"}}}
CHOSEN_CUSTOM = chosen({"type": "custom", "custom": {"name": "f"}})

PROBES: dict[str, Probe] = {
    "model": ({"model": "a"}, {"model": "b"}),
    "max_completion_tokens": ({"max_completion_tokens": 5}, {}),
    "max_tokens": ({"max_tokens": 5}, {}),
    "n": ({"n": 2}, {}),
    "stop": ({"stop": "END"}, {}),
    "stream": ({"stream": True}, {}),
    "stream_options": (streamed(include_usage=True), {"stream": True}),
    "stream_options.include_usage": (streamed(include_usage=True), streamed()),
    "stream_options.include_obfuscation": (streamed(include_obfuscation=True), streamed()),
    "modalities": ({"modalities": ["text"]}, {}),
    "modalities[text]": ({"modalities": ["text"]}, {}),
    "modalities[audio]": ({"modalities": ["audio"]}, {}),
    "prediction": (predicted("a"), {}),
    "prediction[content]": (predicted("a"), {}),
    "prediction[content].content": (predicted("a"), predicted("b")),
    "prediction[content].content[text]": (predicted_text(), predicted("")),
    "prediction[content].content[text].text": (predicted_text(), predicted_text(text="b")),
    "verbosity": ({"verbosity": "low"}, {}),
    "temperature": ({"temperature": 0.5}, {}),
    "top_p": ({"top_p": 0.5}, {}),
    "frequency_penalty": ({"frequency_penalty": 0.5}, {}),
    "presence_penalty": ({"presence_penalty": 0.5}, {}),
    "logit_bias": ({"logit_bias": {"5": 1}}, {}),
    "seed": ({"seed": 2}, {"seed": 1}),
    "logprobs": ({"logprobs": True}, {}),
    "top_logprobs": ({"logprobs": True, "top_logprobs": 2}, {"logprobs": True}),
    "reasoning_effort": ({"reasoning_effort": "low"}, {}),
    "messages": ({"messages": [USER, USER]}, {}),
    "messages[].role": (says(role="system"), says()),
    "messages[].name": (says(name="Ann"), says()),
    "messages[].content": (says(content="a"), says()),
    "messages[].content[text]": (text(), says()),
    "messages[].content[text].text": (text(), text(text="b")),
    "messages[].content[refusal]": (
        part("assistant", type="refusal", refusal="No."),
        says(role="assistant"),
    ),
    "messages[].content[refusal].refusal": (
        part("assistant", type="refusal", refusal="No."),
        part("assistant", type="refusal", refusal="Never."),
    ),
    "messages[].refusal": (
        says(role="assistant", content=None, refusal="No."),
        says(role="assistant", content=None, refusal="Never."),
    ),
    "messages[].tool_calls": (history(called()), history({"role": "assistant", "content": "Hi"})),
    "messages[].tool_calls[function]": (history(called()), history({"role": "assistant", "content": "Hi"})),
    "messages[].tool_calls[function].id": (history(called("a")), history(called("b"))),
    "messages[].tool_calls[function].function": (
        history(called(name="f", arguments="{}")),
        history(called(name="g", arguments='{"a":1}')),
    ),
    "messages[].tool_calls[function].function.name": (history(called(name="f")), history(called(name="g"))),
    "messages[].tool_calls[function].function.arguments": (
        history(called(arguments="{}")),
        history(called(arguments='{"a":1}')),
    ),
    "messages[].tool_call_id": (two_calls("a"), two_calls("b")),
    "messages[].function_call": (
        history(called_before()),
        history({"role": "assistant", "content": "Hi"}),
    ),
    "messages[].function_call.name": (history(called_before("f")), history(called_before("g"))),
    "messages[].function_call.arguments": (
        history(called_before(arguments="{}")),
        history(called_before(arguments='{"a":1}')),
    ),
    "tools": (tools(function()), {}),
    "tools[function]": (tools(function()), tools()),
    "tools[function].function": (
        tools(function("f", description="d")),
        tools(function("g")),
    ),
    "tools[function].function.name": (tools(function("f")), tools(function("g"))),
    "tools[function].function.description": (tools(function(description="d")), tools(function())),
    "tools[function].function.parameters": (tools(function(parameters=OBJECT)), tools(function())),
    "tools[function].function.strict": (tools(function(strict=True)), tools(function())),
    "tool_choice": (chosen("required"), chosen("auto")),
    "tool_choice[function]": (chosen(function("f")), chosen("auto")),
    "tool_choice[function].function": (chosen(function("f")), chosen(function("g"))),
    "tool_choice[function].function.name": (chosen(function("f")), chosen(function("g"))),
    "tool_choice[allowed_tools]": (allowed(), chosen("auto")),
    "tool_choice[allowed_tools].allowed_tools": (allowed("auto", "f"), allowed("required", "g")),
    "tool_choice[allowed_tools].allowed_tools.mode": (allowed("auto"), allowed("required")),
    "tool_choice[allowed_tools].allowed_tools.tools": (allowed("auto", "f"), allowed("auto", "g")),
    "parallel_tool_calls": ({"parallel_tool_calls": False}, {}),
    "functions": (functions({"name": "f"}), {}),
    "functions[].name": (functions({"name": "f"}), functions({"name": "g"})),
    "functions[].description": (functions({"name": "f", "description": "d"}), functions({"name": "f"})),
    "functions[].parameters": (functions({"name": "f", "parameters": OBJECT}), functions({"name": "f"})),
    "function_call": (functions({"name": "f"}, function_call="none"), functions({"name": "f"})),
    "function_call.name": (
        functions({"name": "f"}, {"name": "g"}, function_call={"name": "f"}),
        functions({"name": "f"}, {"name": "g"}, function_call={"name": "g"}),
    ),
    "response_format": (form(type="json_object"), {}),
    "response_format[text]": (form(type="text"), form(type="json_object")),
    "response_format[json_object]": (form(type="json_object"), {}),
    "response_format[json_schema]": (schema(), {}),
    "response_format[json_schema].json_schema": (schema(), schema(schema=OBJECT)),
    "response_format[json_schema].json_schema.name": (schema(name="a"), schema(name="b")),
    "response_format[json_schema].json_schema.description": (schema(description="d"), schema()),
    "response_format[json_schema].json_schema.schema": (schema(), schema(schema=OBJECT)),
    "response_format[json_schema].json_schema.strict": (schema(strict=True), schema()),
    "user": ({"user": "u"}, {}),
    "safety_identifier": ({"safety_identifier": "u"}, {}),
    "metadata": ({"metadata": {"a": "b"}}, {}),
    "store": ({"store": True}, {}),
    "service_tier": ({"service_tier": "flex"}, {}),
    "prompt_cache_key": ({"prompt_cache_key": "k"}, {}),
    "prompt_cache_retention": ({"prompt_cache_retention": "24h"}, {}),
    "prompt_cache_options": ({"prompt_cache_options": {"mode": "implicit", "ttl": "30m"}}, {}),
    "prompt_cache_options.mode": (
        {"prompt_cache_options": {"mode": "explicit"}},
        {"prompt_cache_options": {}},
    ),
    "prompt_cache_options.ttl": ({"prompt_cache_options": {"ttl": "30m"}}, {"prompt_cache_options": {}}),
}
for _place, _of in (("messages[]", text), ("prediction[content]", predicted_text)):
    _mark = f"{_place}.content[text].prompt_cache_breakpoint"
    PROBES[_mark] = (_of(prompt_cache_breakpoint=BREAKPOINT), _of())
    for _name, _value in BREAKPOINT.items():
        PROBES[f"{_mark}.{_name}"] = (
            _of(prompt_cache_breakpoint={_name: _value}),
            _of(prompt_cache_breakpoint={}),
        )

# What is refused, with all that it may hold: the request, by where it begins.
REFUSED: dict[str, Fields] = {
    "messages[].content[image_url]": image(),
    "messages[].content[input_audio]": sound(),
    "messages[].content[file]": file(),
    "messages[].tool_calls[custom]": called_custom(),
    "messages[].audio": says(role="assistant", audio={"id": "audio_1"}),
    "tools[custom]": custom_tool(),
    "tools[custom].custom.format[text]": custom_text_tool(),
    "tool_choice[custom]": CHOSEN_CUSTOM,
    "web_search_options": {"web_search_options": SEARCH},
    "audio": {"audio": VOICE},
    "moderation": {"moderation": MODERATION},
}
"""A field within one of these is refused with it."""


COMPLETION_BASE: Fields = {"model": "m", "prompt": "Once", "seed": 1}

COMPLETION_PROBES: dict[str, Probe] = {
    "prompt": ({"prompt": "a"}, {"prompt": "b"}),
    "suffix": ({"suffix": "end"}, {}),
    "echo": ({"echo": True}, {}),
    "best_of": ({"best_of": 2}, {}),
    "logprobs": ({"logprobs": 2}, {}),
} | {
    name: PROBES[name]
    for name in (
        "model",
        "max_tokens",
        "n",
        "stop",
        "stream",
        "stream_options",
        "stream_options.include_usage",
        "stream_options.include_obfuscation",
        "temperature",
        "top_p",
        "frequency_penalty",
        "presence_penalty",
        "logit_bias",
        "seed",
        "user",
    )
}


EMBEDDING_BASE: Fields = {"model": "m", "input": "Once"}

EMBEDDING_PROBES: dict[str, Probe] = {
    "model": PROBES["model"],
    "input": ({"input": ["a"]}, {"input": ["b"]}),
    "encoding_format": ({"encoding_format": "base64"}, {}),
    "dimensions": ({"dimensions": 2}, {}),
    "user": PROBES["user"],
}


def probe_of(path: str) -> Probe:
    """The two chat requests for a field. Raises KeyError where nobody has thought of any."""
    if path in PROBES:
        return PROBES[path]
    outer = [place for place in REFUSED if path.startswith(place)]
    request = REFUSED[max(outer, key=len)] if outer else {}
    if not any(holders(request, path)):
        raise KeyError(path)
    return request, {}
