"""What llamawire takes beside the fields of an API that is translated onto chat."""

from __future__ import annotations

from typing import Any

from llamawire.v1 import chat_pb2
from llamawire_server.shim.chat.translate import carry_template_variables
from llamawire_server.shim.http.request_types import Float32, Int32, Int64, RequestModel

# Fields that have the same name and type in the gRPC request.
_SAME = (
    "top_k",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repeat_penalty",
    "seed",
    "wait_for_model",
    "priority",
)


class OwnFields(RequestModel):
    """Fields that chat requests have and the API's own requests have not. Ranges are those of the gRPC request."""

    top_k: Int32 | None = None
    """Keep this many of the likeliest tokens; 0 keeps all."""
    min_p: Float32 | None = None
    """Drop tokens less likely than this share of the likeliest one's probability. llamawire's own."""
    frequency_penalty: Float32 | None = None
    """Subtracted from a token's logit for each time it was already generated. [-2, 2] llamawire's own."""
    presence_penalty: Float32 | None = None
    """Subtracted from a token's logit if it was already generated. [-2, 2] llamawire's own."""
    repeat_penalty: Float32 | None = None
    """Makes tokens of the prompt and the answer less likely; 1 is off. (0, 10] llamawire's own."""
    seed: Int64 | None = None
    """The same request with the same seed gives the same answer. llamawire's own."""
    chat_template_kwargs: dict[str, Any] | None = None
    """More variables for the chat template, such as {"enable_thinking": false}. llamawire's own."""
    wait_for_model: bool | None = None
    """Whether to wait for a model that is not loaded; false: a 503 at once, while it is being loaded. Default true.
    llamawire's own."""
    priority: Int32 | None = None
    """Where the request stands in the model's line: lower goes first, and one step is worth ten seconds of waiting.
    [-100, 100] llamawire's own."""


def carry_own_fields(request: OwnFields, message: chat_pb2.ChatCompletionRequest) -> None:
    """Set what is given of them. Raises ServiceError (INVALID) where a field can't be carried over."""
    for name in _SAME:
        if (value := getattr(request, name)) is not None:
            setattr(message, name, value)
    carry_template_variables(request.chat_template_kwargs, message)
