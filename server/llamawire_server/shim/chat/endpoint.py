"""Chat completions: a request in, a call of the service, an answer out."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from llamawire.v1 import chat_pb2
from llamawire_server.shim.chat import answers
from llamawire_server.shim.chat.events import ChunkEvents
from llamawire_server.shim.chat.field_names import renaming
from llamawire_server.shim.chat.functions import uses_functions
from llamawire_server.shim.chat.request_body import read_chat_request
from llamawire_server.shim.chat.request_schema import ChatCompletionRequest
from llamawire_server.shim.chat.response_schema import ChatCompletion, ChatCompletionChunk
from llamawire_server.shim.chat.translate import to_chat_request
from llamawire_server.shim.http.call import call_of
from llamawire_server.shim.http.handling import Handling, json_response
from llamawire_server.shim.http.routes import Routes

_ANSWER = (
    "The answer; with `stream: true` server-sent events instead, each a chunk after `data: `. After the last "
    'one comes `data: [DONE]`; a stream that fails ends with `data: {"error": …}` in its place. A chunk '
    "without choices and usage only keeps the connection alive."
)


@dataclass(frozen=True)
class Endpoint:
    """The handler of the path."""

    handling: Handling

    async def create_chat_completion(self, request: Request) -> Response:
        """Answers a conversation, at once or as a stream."""
        asked, message = await self.handling.understand(request, self._understand)
        request.state.rename = renaming(asked)
        call, as_functions = call_of(request), uses_functions(asked)
        service = self.handling.service
        if asked.stream:
            options = asked.stream_options
            include_usage = options is not None and bool(options.include_usage)
            events = ChunkEvents(
                asked.model, include_usage, as_functions, continuous_usage=message.continuous_usage
            )
            return self.handling.stream(service.stream_chat_completion(message, call), events)
        answer = await self.handling.run(request, service.create_chat_completion(message, call))
        return json_response(answers.chat_completion(answer, as_functions))

    def _understand(self, data: bytes) -> tuple[ChatCompletionRequest, chat_pb2.ChatCompletionRequest]:
        """What a body asks for, in OpenAI's form and in that of the service."""
        asked = read_chat_request(data, ChatCompletionRequest, self.handling.settings.allow_unknown_fields)
        return asked, to_chat_request(asked)


def add_routes(routes: Routes, handling: Handling) -> None:
    routes.post(
        "/v1/chat/completions",
        Endpoint(handling).create_chat_completion,
        body=ChatCompletionRequest,
        answer=ChatCompletion,
        event=ChatCompletionChunk,
        description=_ANSWER,
    )
