"""llamawire's Python client: typed calls to local models over gRPC.

    from llamawire import Client, user

    with Client() as client:
        for chunk in client.chat.stream(model="smollm2", messages=[user("Why is the sky blue?")]):
            print(chunk.text, end="", flush=True)

`AsyncClient` is the same for asyncio. The protos themselves are in `llamawire.v1`.
"""

from llamawire.aio import AsyncClient
from llamawire.answer_form import call, function, grammar, json_schema
from llamawire.chat import assistant, audio, developer, image, system, text, tool, user
from llamawire.chat_request import request
from llamawire.client import Client
from llamawire.completion import Choice, Chunk, Completion, ToolCall
from llamawire.completion_builder import CompletionBuilder
from llamawire.completion_request import completion_request
from llamawire.embedding import EmbeddingList, embedding_request
from llamawire.errors import (
    AuthenticationError,
    ConnectionFailedError,
    DeadlineExceededError,
    InferenceError,
    InvalidRequestError,
    LlamawireError,
    MalformedResponseError,
    MessageTooLargeError,
    ModelNotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RequestCancelledError,
    UnavailableError,
    UnsupportedError,
    from_rpc_error,
)
from llamawire.handler import AsyncStreamHandler, StreamHandler
from llamawire.model_stream import AsyncModelLoad, AsyncModelWatch, ModelLoad, ModelNews, ModelWatch
from llamawire.schema import schema_of
from llamawire.stream import AsyncChatStream, ChatStream
from llamawire.text_completion import TextChoice, TextChunk, TextCompletion
from llamawire.text_completion_builder import TextCompletionBuilder
from llamawire.text_stream import AsyncTextStream, TextStream
from llamawire.whole_answer import Timings

__all__ = [
    # Clients
    "AsyncClient",
    "Client",
    # Requests
    "assistant",
    "audio",
    "completion_request",
    "developer",
    "embedding_request",
    "image",
    "request",
    "system",
    "text",
    "tool",
    "user",
    # What answers are to look like
    "call",
    "function",
    "grammar",
    "json_schema",
    "schema_of",
    # Answers
    "AsyncChatStream",
    "AsyncStreamHandler",
    "AsyncTextStream",
    "ChatStream",
    "Choice",
    "Chunk",
    "Completion",
    "CompletionBuilder",
    "EmbeddingList",
    "StreamHandler",
    "TextChoice",
    "TextChunk",
    "TextCompletion",
    "TextCompletionBuilder",
    "TextStream",
    "Timings",
    "ToolCall",
    # Models
    "AsyncModelLoad",
    "AsyncModelWatch",
    "ModelLoad",
    "ModelNews",
    "ModelWatch",
    # Errors
    "AuthenticationError",
    "ConnectionFailedError",
    "DeadlineExceededError",
    "InferenceError",
    "InvalidRequestError",
    "LlamawireError",
    "MalformedResponseError",
    "MessageTooLargeError",
    "ModelNotFoundError",
    "PermissionDeniedError",
    "RateLimitError",
    "RequestCancelledError",
    "UnavailableError",
    "UnsupportedError",
    "from_rpc_error",
]
