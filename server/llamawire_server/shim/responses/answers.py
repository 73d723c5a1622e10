"""Responses as JSON: as they begin, and what they come to."""

from __future__ import annotations

import time
import uuid

from pydantic import BaseModel

from llamawire.v1 import chat_pb2, usage_pb2
from llamawire_server.errors import Condition, ServiceError
from llamawire_server.shim.http import answer_cost
from llamawire_server.shim.http.response_types import Json
from llamawire_server.shim.responses import items
from llamawire_server.shim.responses.request_schema import ResponseRequest, ResponseText, ResponseTool

# Why an answer is not whole, by its finish reason.
_CUTS = {
    chat_pb2.FINISH_REASON_LENGTH: "max_output_tokens",
    chat_pb2.FINISH_REASON_CONTENT_FILTER: "content_filter",
}

# The codes that a response can have failed with are few.
_CODES = {
    Condition.BUSY: "rate_limit_exceeded",
    Condition.INVALID: "invalid_prompt",
    Condition.UNSUPPORTED: "invalid_prompt",
    Condition.UNKNOWN_MODEL: "invalid_prompt",
    Condition.TOO_LARGE: "invalid_prompt",
}


def begun(request: ResponseRequest, is_kept: bool) -> Json:
    """A response that nothing has come of yet, with an id of its own. is_kept: for others to go on from."""
    reasoning, text = request.reasoning, request.text or ResponseText()
    choice = request.tool_choice
    summary = (reasoning.summary or reasoning.generate_summary) if reasoning else None
    return {
        "id": f"resp_{uuid.uuid4().hex}",
        "object": "response",
        "created_at": int(time.time()),
        "completed_at": None,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": request.max_tool_calls,
        "model": request.model,
        "output": [],
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": request.previous_response_id,
        "prompt_cache_key": request.prompt_cache_key,
        "reasoning": {"effort": reasoning.effort if reasoning else None, "summary": summary},
        "safety_identifier": request.safety_identifier,
        "service_tier": "default",
        "store": is_kept,
        "temperature": request.temperature,
        "text": {
            "format": {"type": "text"} if text.format is None else _given(text.format),
            "verbosity": text.verbosity,
        },
        "tool_choice": "auto" if choice is None else choice if isinstance(choice, str) else _given(choice),
        "tools": [_tool(tool) for tool in request.tools or ()],
        "top_logprobs": request.top_logprobs or 0,
        "top_p": request.top_p,
        "truncation": "disabled",
        "usage": None,
        "user": request.user,
        "metadata": request.metadata or {},
        "timings": None,
    }


def whole(response: Json, answer: chat_pb2.ChatCompletion) -> Json:
    """What a response that was begun comes to."""
    choice = answer.choices[0]
    said = choice.message
    status = item_status(choice.finish_reason)
    output: list[Json] = []
    if said.reasoning_content:
        output.append(items.reasoning(items.new_id("reasoning"), said.reasoning_content, "completed"))
    parts = [items.text(said.content, items.token_logprobs(choice.logprobs))] if said.content else []
    parts += [items.refusal(said.refusal)] if said.refusal else []
    if not parts and not said.tool_calls and needs_text(output, choice.finish_reason):
        parts = [items.text("")]
    if parts:
        output.append(items.message(items.new_id("message"), parts, "completed"))
    for call in said.tool_calls:
        function = call.function
        made = items.function_call(
            items.new_id("function_call"), call.id, function.name, function.arguments, "completed"
        )
        output.append(made)
    output[-1]["status"] = status
    finished = finish({**response, "model": answer.model}, output, choice.finish_reason)
    return with_cost(finished, answer.usage, answer.timings)


def needs_text(output: list[Json], reason: chat_pb2.FinishReason.ValueType) -> bool:
    """Whether an empty text is what the model said last: it ended its turn, and nobody cut its reasoning."""
    return not output or (output[-1]["type"] == "reasoning" and reason not in _CUTS)


def item_status(reason: chat_pb2.FinishReason.ValueType) -> str:
    """That of the last item of an answer: what a limit cuts is the last."""
    return "incomplete" if reason in _CUTS else "completed"


def finish(response: Json, output: list[Json], reason: chat_pb2.FinishReason.ValueType) -> Json:
    """A response whose answer has ended."""
    if reason == chat_pb2.FINISH_REASON_INSUFFICIENT_SYSTEM_RESOURCE:
        error = {"code": "server_error", "message": "the server had to end the response early"}
        return {**response, "status": "failed", "error": error, "output": output}
    if reason in _CUTS:
        details = {"reason": _CUTS[reason]}
        return {**response, "status": "incomplete", "incomplete_details": details, "output": output}
    return {**response, "status": "completed", "completed_at": int(time.time()), "output": output}


def fail(response: Json, output: list[Json], error: ServiceError) -> Json:
    """A response whose answer failed."""
    failure = {"code": _CODES.get(error.condition, "server_error"), "message": error.message}
    return {**response, "status": "failed", "error": failure, "output": output}


def with_cost(response: Json, usage: usage_pb2.Usage, timings: usage_pb2.Timings) -> Json:
    """The response with what it cost in tokens and in time."""
    return {**response, "usage": _usage(usage), "timings": answer_cost.timings(timings)}


def _usage(source: usage_pb2.Usage) -> Json:
    return {
        "input_tokens": source.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": source.prompt_tokens_details.cached_tokens,
            "cache_write_tokens": 0,
        },
        "output_tokens": source.completion_tokens,
        "output_tokens_details": {
            "reasoning_tokens": source.completion_tokens_details.reasoning_tokens,
        },
        "total_tokens": source.total_tokens,
    }


def _tool(tool: ResponseTool) -> Json:
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict is not False,
    }


def _given(source: BaseModel) -> Json:
    """What the caller gave, as it was given."""
    given: Json = source.model_dump(mode="json", by_alias=True, exclude_none=True)
    return given
