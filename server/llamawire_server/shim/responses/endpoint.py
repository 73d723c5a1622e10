"""Responses: a request in, a call of the chat service, a response out, which is kept for others to go on from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from llamawire.v1 import chat_pb2
from llamawire_server.errors import Condition, FieldViolation, ServiceError, invalid_field
from llamawire_server.service.validation import MAX_MESSAGES
from llamawire_server.shim.chat.places import Places
from llamawire_server.shim.http import body
from llamawire_server.shim.http.call import call_of
from llamawire_server.shim.http.handling import Handling, json_response
from llamawire_server.shim.http.response_types import Json
from llamawire_server.shim.http.routes import Routes
from llamawire_server.shim.responses import answers, history
from llamawire_server.shim.responses.event_schema import EVENTS
from llamawire_server.shim.responses.events import ResponseEvents
from llamawire_server.shim.responses.field_names import renaming
from llamawire_server.shim.responses.history import KeptInput
from llamawire_server.shim.responses.listing import PARAMETERS, page
from llamawire_server.shim.responses.placed_items import given, reference_ids, remembered
from llamawire_server.shim.responses.request_schema import ResponseRequest
from llamawire_server.shim.responses.response_schema import DeletedResponse, ResponseItems, ResponseObject
from llamawire_server.shim.responses.store import ResponseStore, Turn
from llamawire_server.shim.responses.translate import to_chat_request

_ANSWER = (
    "The response; with `stream: true` server-sent events instead, each named by its `type`. The last one is "
    "`response.completed`, `response.incomplete` or `response.failed`."
)

_ID_PARAMETER = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "The response's id.",
    "schema": {"type": "string"},
}


@dataclass(frozen=True)
class Endpoint:
    """The handlers of the paths, and the responses that they keep."""

    handling: Handling
    store: ResponseStore

    async def create_response(self, request: Request) -> Response:
        """Answers an input, at once or as a stream."""
        asked, num_bytes = await self.handling.understand(request, self._understand)
        previous, holders = self._previous(asked), self._holders(asked)
        is_kept = asked.store is not False and self.store.keeps_any
        message, places, kept_input = await self.handling.think(
            num_bytes + history.num_bytes(previous) + sum(turn.num_bytes for turn in set(holders.values())),
            lambda: _translate(asked, previous, holders, is_kept),
        )
        request.state.rename = renaming(asked, places)
        call, response = call_of(request), answers.begun(asked, is_kept)
        service = self.handling.service

        def keep(response: Json) -> None:
            # Nobody can go on from what failed: a call that it broke off looks whole.
            if kept_input is not None and response["status"] != "failed":
                self.store.keep(response["id"], history.keepable(kept_input, response, previous))

        if asked.stream:
            return self.handling.stream(
                service.stream_chat_completion(message, call), ResponseEvents(response, keep)
            )
        answer = await self.handling.run(request, service.create_chat_completion(message, call))
        response = answers.whole(response, answer)
        keep(response)
        return json_response(response)

    async def get_response(self, request: Request) -> Response:
        """Gives a response that is kept."""
        if request.query_params.get("stream", "false") != "false":
            raise invalid_field("stream", "is not supported: a response that is kept is whole")
        return Response(self._find(request).response, media_type="application/json")

    async def delete_response(self, request: Request) -> Response:
        """Keeps a response no longer."""
        response_id = request.path_params["id"]
        if not self.store.forget(response_id):
            raise _not_found()
        return json_response({"id": response_id, "object": "response", "deleted": True})

    async def list_input_items(self, request: Request) -> Response:
        """Lists what a response was generated from, a page at a time."""
        turn = self._find(request)
        listed = await self.handling.think(history.num_bytes(turn), lambda: history.input_items(turn))
        return json_response(page(listed, request.query_params))

    def _understand(self, data: bytes) -> tuple[ResponseRequest, int]:
        """What a body asks for, and its size."""
        fields = body.parse(data)
        given = fields.get("input")
        if isinstance(given, list) and len(given) > MAX_MESSAGES:
            raise invalid_field("input", f"has {len(given)} entries; at most {MAX_MESSAGES} are allowed")
        return body.validate(fields, ResponseRequest, self.handling.settings.allow_unknown_fields), len(data)

    def _previous(self, asked: ResponseRequest) -> Turn | None:
        """What the request goes on from. Raises ServiceError (INVALID) where that is not kept."""
        if asked.previous_response_id is None:
            return None
        turn = self.store.find(asked.previous_response_id)
        if turn is None:
            message = f"Previous response with id '{asked.previous_response_id[:128]}' not found."
            violation = FieldViolation("previous_response_id", "is not the id of a response that is kept")
            raise ServiceError(
                Condition.INVALID, "PREVIOUS_RESPONSE_NOT_FOUND", message, violations=[violation]
            )
        return turn

    def _holders(self, asked: ResponseRequest) -> dict[str, Turn]:
        """By their ids, the turns with the kept items that the request refers to."""
        found = {item_id: self.store.find_item(item_id) for item_id in reference_ids(asked.input)}
        return {item_id: turn for item_id, turn in found.items() if turn is not None}

    def _find(self, request: Request) -> Turn:
        turn = self.store.find(request.path_params["id"])
        if turn is None:
            raise _not_found()
        return turn


def add_routes(routes: Routes, handling: Handling) -> None:
    settings = handling.settings
    store = ResponseStore(settings.max_kept_responses, settings.max_kept_response_bytes)
    endpoint = Endpoint(handling, store)
    routes.post(
        "/v1/responses",
        endpoint.create_response,
        body=ResponseRequest,
        answer=ResponseObject,
        event=EVENTS,
        description=_ANSWER,
    )
    path, errors = "/v1/responses/{id}", (400, 404, 500)
    routes.get(
        path,
        endpoint.get_response,
        answer=ResponseObject,
        errors=errors,
        parameters=[_ID_PARAMETER],
        is_call=False,
    )
    routes.delete(
        path,
        endpoint.delete_response,
        answer=DeletedResponse,
        errors=errors,
        parameters=[_ID_PARAMETER],
    )
    routes.get(
        f"{path}/input_items",
        endpoint.list_input_items,
        answer=ResponseItems,
        errors=errors,
        parameters=[_ID_PARAMETER, *PARAMETERS],
        is_call=False,
    )


def _translate(
    asked: ResponseRequest, previous: Turn | None, holders: Mapping[str, Turn], is_kept: bool
) -> tuple[chat_pb2.ChatCompletionRequest, Places, KeptInput | None]:
    """The request for the service, where its messages came from, and its input, where it is kept, as it is."""
    earlier = history.parsed_items(previous)
    own = given(asked.input, earlier, history.referred_items(holders))
    message, places = to_chat_request(asked, remembered(earlier) + own)
    return message, places, history.kept_input(own) if is_kept else None


def _not_found() -> HTTPException:
    return HTTPException(404, "No response that is kept has this id")
