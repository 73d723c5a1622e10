"""llama-server's paths for text and tokens: a request in, a call of the service, an answer out."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from llamawire.v1 import chat_pb2, model_pb2, tokenizer_pb2
from llamawire_server.errors import invalid_field
from llamawire_server.service.interface import Call
from llamawire_server.shim.chat.field_names import renaming as chat_renaming
from llamawire_server.shim.chat.request_body import read_chat_request
from llamawire_server.shim.chat.translate import to_chat_request
from llamawire_server.shim.http import body
from llamawire_server.shim.http.call import call_of
from llamawire_server.shim.http.handling import Handling, json_response
from llamawire_server.shim.http.routes import Routes
from llamawire_server.shim.tokens.schema import (
    ApplyTemplateAnswer,
    ApplyTemplateRequest,
    DetokenizeAnswer,
    DetokenizeRequest,
    TokenizeAnswer,
    TokenizeRequest,
)
from llamawire_server.shim.tokens.translate import renaming, to_tokenize_request

# Larger answers are written in a thread: a million tokens take long enough for everybody to notice.
_MANY_TOKENS = 16_384


@dataclass(frozen=True)
class Endpoint:
    """The handlers of the paths."""

    handling: Handling

    async def tokenize(self, request: Request) -> Response:
        """Turns text into tokens."""
        asked, message = await self.handling.understand(request, self._read_tokenize)
        if not asked.content and not isinstance(asked.content, str):
            return json_response({"tokens": []})
        request.state.rename = renaming(message)
        call = call_of(request)
        message.model = asked.model or await self._only_model(request, call)
        answer = await self.handling.run(request, self.handling.service.tokenize(message, call))
        if len(answer.tokens) > _MANY_TOKENS:
            return await asyncio.to_thread(_tokens, answer, bool(asked.with_pieces))
        return _tokens(answer, bool(asked.with_pieces))

    async def detokenize(self, request: Request) -> Response:
        """Turns tokens into text."""
        asked = await self.handling.understand(request, self._read_detokenize)
        if not asked.tokens:
            return json_response({"content": ""})
        call = call_of(request)
        message = tokenizer_pb2.DetokenizeRequest(
            model=asked.model or await self._only_model(request, call),
            tokens=asked.tokens,
            unparse_special=True,
        )
        answer = await self.handling.run(request, self.handling.service.detokenize(message, call))
        return json_response({"content": answer.text})

    async def apply_template(self, request: Request) -> Response:
        """Shows the prompt that a conversation becomes."""
        asked, chat = await self.handling.understand(request, self._read_conversation)
        request.state.rename = chat_renaming(asked)
        call = call_of(request)
        chat.model = asked.model or await self._only_model(request, call)
        message = tokenizer_pb2.ApplyChatTemplateRequest(
            request=chat, add_generation_prompt=asked.add_generation_prompt
        )
        answer = await self.handling.run(request, self.handling.service.apply_chat_template(message, call))
        return json_response({"prompt": answer.prompt})

    def _read_tokenize(self, data: bytes) -> tuple[TokenizeRequest, tokenizer_pb2.TokenizeRequest]:
        asked = body.validate(body.parse(data), TokenizeRequest, self.handling.settings.allow_unknown_fields)
        return asked, to_tokenize_request(asked)

    def _read_detokenize(self, data: bytes) -> DetokenizeRequest:
        return body.validate(body.parse(data), DetokenizeRequest, self.handling.settings.allow_unknown_fields)

    def _read_conversation(self, data: bytes) -> tuple[ApplyTemplateRequest, chat_pb2.ChatCompletionRequest]:
        asked = read_chat_request(data, ApplyTemplateRequest, self.handling.settings.allow_unknown_fields)
        return asked, to_chat_request(asked)

    async def _only_model(self, request: Request, call: Call) -> str:
        """The model that a request means which names none. Raises ServiceError where it can't be told."""
        listing = self.handling.service.list_models(model_pb2.ListModelsRequest(), call)
        models = (await self.handling.run(request, listing)).models
        ready = [model.name for model in models if model.state == model_pb2.MODEL_STATE_READY]
        if len(ready) != 1:
            raise invalid_field("model", f"is required: {len(ready) or 'no'} models are loaded")
        return ready[0]


def add_routes(routes: Routes, handling: Handling) -> None:
    endpoint = Endpoint(handling)
    routes.post(
        "/tokenize",
        endpoint.tokenize,
        body=TokenizeRequest,
        answer=TokenizeAnswer,
        description="The tokens.",
    )
    routes.post(
        "/detokenize",
        endpoint.detokenize,
        body=DetokenizeRequest,
        answer=DetokenizeAnswer,
        description="The text.",
    )
    routes.post(
        "/apply-template",
        endpoint.apply_template,
        body=ApplyTemplateRequest,
        answer=ApplyTemplateAnswer,
        description="The prompt.",
    )


def _tokens(answer: tokenizer_pb2.TokenizeResponse, with_pieces: bool) -> Response:
    if not with_pieces:
        return json_response({"tokens": list(answer.tokens)})
    pairs = zip(answer.tokens, answer.pieces, strict=True)
    return json_response({"tokens": [{"id": token, "piece": _piece(piece)} for token, piece in pairs]})


def _piece(piece: bytes) -> str | list[int]:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)
