"""Messages: a request in, a call of the chat service, a message out; and how long a request's prompt would be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from llamawire.v1 import chat_pb2, tokenizer_pb2
from llamawire_server.errors import invalid_field
from llamawire_server.service.validation import MAX_MESSAGES
from llamawire_server.shim.chat.places import Places
from llamawire_server.shim.http import body
from llamawire_server.shim.http.call import call_of
from llamawire_server.shim.http.handling import Handling, json_response
from llamawire_server.shim.http.routes import Routes
from llamawire_server.shim.messages import answers
from llamawire_server.shim.messages.dialect import AnthropicDialect
from llamawire_server.shim.messages.events import MessageEvents
from llamawire_server.shim.messages.field_names import renaming
from llamawire_server.shim.messages.request_schema import (
    CountRequest,
    MessageRequest,
    MessageThinkingAdaptive,
    MessageThinkingOn,
)
from llamawire_server.shim.messages.response_schema import (
    EVENTS,
    MessageError,
    MessageObject,
    MessageTokenCount,
)
from llamawire_server.shim.messages.translate import to_chat_request

_PATH = "/v1/messages"

_ANSWER = (
    "The message; with `stream: true` server-sent events instead, each named by its `type`. The last one is "
    "`message_stop`, or `error` where the stream failed."
)

RequestT = TypeVar("RequestT", bound=CountRequest)


@dataclass(frozen=True)
class Endpoint:
    """The handlers of the paths."""

    handling: Handling

    async def create_message(self, request: Request) -> Response:
        """Answers a conversation, at once or as a stream."""
        asked, message, places = await self.handling.understand(
            request, lambda data: self._understand(data, MessageRequest)
        )
        request.state.rename = renaming(places)
        call, service = call_of(request), self.handling.service
        shows_thinking = _shows_thinking(asked)
        if asked.stream:
            events = MessageEvents(asked.model, call.request_id, shows_thinking=shows_thinking)
            return self.handling.stream(service.stream_chat_completion(message, call), events)
        answer = await self.handling.run(request, service.create_chat_completion(message, call))
        return json_response(answers.message(answer, shows_thinking=shows_thinking))

    async def count_tokens(self, request: Request) -> Response:
        """Measures the prompt of a conversation, without answering it."""
        _, message, places = await self.handling.understand(
            request, lambda data: self._understand(data, CountRequest)
        )
        request.state.rename = renaming(places)
        asked = tokenizer_pb2.CountChatTokensRequest(request=message)
        counting = self.handling.service.count_chat_tokens(asked, call_of(request))
        counted = await self.handling.run(request, counting)
        return json_response({"input_tokens": counted.prompt_tokens})

    def _understand(
        self, data: bytes, model: type[RequestT]
    ) -> tuple[RequestT, chat_pb2.ChatCompletionRequest, Places]:
        """What a body asks for, in Anthropic's form and in that of the service, and where its messages came from."""
        fields = body.parse(data)
        messages = fields.get("messages")
        if isinstance(messages, list) and len(messages) > MAX_MESSAGES:
            # Looking at each of them, and complaining of each, would take seconds.
            raise invalid_field(
                "messages", f"has {len(messages)} entries; at most {MAX_MESSAGES} are allowed"
            )
        asked = body.validate(fields, model, self.handling.settings.allow_unknown_fields)
        return asked, *to_chat_request(asked)


def add_routes(routes: Routes, handling: Handling) -> None:
    endpoint = Endpoint(handling)
    routes.dialects.add(_PATH, AnthropicDialect())
    routes.post(
        _PATH,
        endpoint.create_message,
        body=MessageRequest,
        answer=MessageObject,
        event=EVENTS,
        description=_ANSWER,
        error=MessageError,
    )
    routes.post(
        f"{_PATH}/count_tokens",
        endpoint.count_tokens,
        body=CountRequest,
        answer=MessageTokenCount,
        error=MessageError,
    )


def _shows_thinking(asked: MessageRequest) -> bool:
    thinking = asked.thinking
    if isinstance(thinking, MessageThinkingOn | MessageThinkingAdaptive):
        return thinking.display != "omitted"
    return True
