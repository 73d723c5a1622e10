"""Completions: a request in, a call of the service, an answer out."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from llamawire.v1 import completion_pb2
from llamawire_server.errors import invalid_field
from llamawire_server.service.validation import MAX_PROMPTS
from llamawire_server.shim.completions import answers
from llamawire_server.shim.completions.events import CompletionEvents
from llamawire_server.shim.completions.field_names import renaming
from llamawire_server.shim.completions.request_schema import CompletionRequest
from llamawire_server.shim.completions.response_schema import Completion, CompletionChunk
from llamawire_server.shim.completions.translate import to_completion_request
from llamawire_server.shim.http import body
from llamawire_server.shim.http.call import call_of
from llamawire_server.shim.http.handling import Handling, json_response
from llamawire_server.shim.http.routes import Routes

_ANSWER = (
    "The choices; with `stream: true` server-sent events instead, each a chunk after `data: `. After the last "
    'one comes `data: [DONE]`; a stream that fails ends with `data: {"error": …}` in its place. A chunk '
    "without choices and usage only keeps the connection alive."
)


@dataclass(frozen=True)
class Endpoint:
    """The handler of the path."""

    handling: Handling

    async def create_completion(self, request: Request) -> Response:
        """Goes on from texts as they are, at once or as a stream."""
        asked, message = await self.handling.understand(request, self._understand)
        request.state.rename = renaming(asked)
        call, lists_top = call_of(request), bool(asked.logprobs)
        service = self.handling.service
        if asked.stream:
            options = asked.stream_options
            include_usage = options is not None and bool(options.include_usage)
            events = CompletionEvents(
                asked.model,
                include_usage=include_usage,
                lists_top=lists_top,
                continuous_usage=message.continuous_usage,
            )
            return self.handling.stream(service.stream_completion(message, call), events)
        answer = await self.handling.run(request, service.create_completion(message, call))
        return json_response(answers.completion(answer, lists_top=lists_top))

    def _understand(self, data: bytes) -> tuple[CompletionRequest, completion_pb2.CompletionRequest]:
        """What a body asks for, in OpenAI's form and in that of the service."""
        fields = body.parse(data)
        prompt = fields.get("prompt")
        if isinstance(prompt, list) and len(prompt) > MAX_PROMPTS and not isinstance(prompt[0], int):
            # Looking at each of them would take time in which everybody waits.
            raise invalid_field("prompt", f"has {len(prompt)} entries; at most {MAX_PROMPTS} are allowed")
        asked = body.validate(fields, CompletionRequest, self.handling.settings.allow_unknown_fields)
        return asked, to_completion_request(asked)


def add_routes(routes: Routes, handling: Handling) -> None:
    routes.post(
        "/v1/completions",
        Endpoint(handling).create_completion,
        body=CompletionRequest,
        answer=Completion,
        event=CompletionChunk,
        description=_ANSWER,
    )
