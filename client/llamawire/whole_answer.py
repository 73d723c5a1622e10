"""What whole answers of every kind say of themselves: who gave them, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf import duration_pb2

from llamawire.v1 import chat_pb2, completion_pb2, usage_pb2

AnswerT = TypeVar("AnswerT", chat_pb2.ChatCompletion, completion_pb2.Completion)


@dataclass(frozen=True)
class Timings:
    """Where the time of a request went, measured on the server."""

    queue_seconds: float
    """Waiting in the model's queue."""

    model_load_seconds: float
    """Waiting for the model to be loaded."""

    prompt_seconds: float
    """Computing the prompt."""

    first_token_seconds: float
    """From the request's arrival to the first token."""

    generation_seconds: float
    """From the first token to the last one."""

    @classmethod
    def from_proto(cls, proto: usage_pb2.Timings) -> Timings:
        def seconds(duration: duration_pb2.Duration) -> float:
            return duration.ToNanoseconds() / 1e9

        return cls(
            queue_seconds=seconds(proto.queue),
            model_load_seconds=seconds(proto.model_load),
            prompt_seconds=seconds(proto.prompt),
            first_token_seconds=seconds(proto.first_token),
            generation_seconds=seconds(proto.generation),
        )


class WholeAnswer(Generic[AnswerT]):
    """An answer with all of its choices."""

    __slots__ = ("proto", "request_id")

    def __init__(self, proto: AnswerT, request_id: str = "") -> None:
        self.proto: AnswerT = proto
        self.request_id = request_id

    @property
    def id(self) -> str:
        """The answer's own id."""
        return self.proto.id

    @property
    def model(self) -> str:
        """The model that answered."""
        return self.proto.model

    @property
    def usage(self) -> usage_pb2.Usage:
        """What it cost in tokens, over all choices and prompts."""
        return self.proto.usage

    @property
    def timings(self) -> Timings:
        """What it cost in time."""
        return Timings.from_proto(self.proto.timings)
