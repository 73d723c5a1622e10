"""The names that OpenAI's JSON has for the values of enums."""

from __future__ import annotations

from llamawire.v1 import chat_pb2

FINISH_REASONS = {
    name.removeprefix("FINISH_REASON_").lower(): value
    for name, value in chat_pb2.FinishReason.items()
    if value != chat_pb2.FINISH_REASON_UNSPECIFIED
}

ROLES = {
    name.removeprefix("ROLE_").lower(): value
    for name, value in chat_pb2.Role.items()
    if value != chat_pb2.ROLE_UNSPECIFIED
}

ROLE_NAMES = {value: name for name, value in ROLES.items()}

# The values of "object".
CHUNK_KIND = "chat.completion.chunk"
COMPLETION_KIND = "chat.completion"
