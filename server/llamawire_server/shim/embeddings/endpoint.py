"""Embeddings: a request in, a call of the service, vectors out."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from llamawire.v1 import embedding_pb2
from llamawire_server.shim.embeddings.request_schema import EmbeddingRequest, check_size
from llamawire_server.shim.embeddings.response_schema import EmbeddingList
from llamawire_server.shim.embeddings.translate import embedding_list, renaming, to_request
from llamawire_server.shim.http import body
from llamawire_server.shim.http.call import call_of
from llamawire_server.shim.http.handling import Handling, json_response
from llamawire_server.shim.http.routes import Routes

# Larger answers are written in a thread: one of 2,048 vectors takes a second, in which everybody would wait.
_LARGE_ANSWER_NUMBERS = 32 * 1024


@dataclass(frozen=True)
class Endpoint:
    """The handler of the path."""

    handling: Handling

    async def create_embeddings(self, request: Request) -> Response:
        """Turns texts into vectors."""
        asked, message = await self.handling.understand(request, self._understand)
        request.state.rename = renaming(asked)
        work = self.handling.service.create_embeddings(message, call_of(request))
        answer = await self.handling.run(request, work)
        as_base64 = asked.encoding_format == "base64"
        if sum(len(source.values) for source in answer.data) > _LARGE_ANSWER_NUMBERS:
            return await asyncio.to_thread(_respond, answer, as_base64)
        return _respond(answer, as_base64)

    def _understand(self, data: bytes) -> tuple[EmbeddingRequest, embedding_pb2.CreateEmbeddingsRequest]:
        """What a body asks for, in OpenAI's form and in that of the service."""
        fields = body.parse(data)
        check_size(fields)
        asked = body.validate(fields, EmbeddingRequest, self.handling.settings.allow_unknown_fields)
        return asked, to_request(asked)


def add_routes(routes: Routes, handling: Handling) -> None:
    routes.post(
        "/v1/embeddings",
        Endpoint(handling).create_embeddings,
        body=EmbeddingRequest,
        answer=EmbeddingList,
    )


def _respond(answer: embedding_pb2.CreateEmbeddingsResponse, as_base64: bool) -> Response:
    return json_response(embedding_list(answer, as_base64=as_base64))
