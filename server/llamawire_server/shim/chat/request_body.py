"""A body as a chat request, for every path that takes one."""

from __future__ import annotations

from typing import TypeVar

from llamawire_server.errors import invalid_field
from llamawire_server.service.validation import MAX_MESSAGES
from llamawire_server.shim.chat.request_schema import ChatCompletionRequest
from llamawire_server.shim.http import body

RequestT = TypeVar("RequestT", bound=ChatCompletionRequest)


def read_chat_request(data: bytes, model: type[RequestT], allow_unknown_fields: bool) -> RequestT:
    """The body as a request of this type. Raises ServiceError (INVALID) where it is none."""
    fields = body.parse(data)
    messages = fields.get("messages")
    if isinstance(messages, list) and len(messages) > MAX_MESSAGES:
        # Looking at each of them, and complaining of each, would take seconds.
        raise invalid_field("messages", f"has {len(messages)} entries; at most {MAX_MESSAGES} are allowed")
    return body.validate(fields, model, allow_unknown_fields)
