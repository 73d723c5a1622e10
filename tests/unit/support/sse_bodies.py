"""Bodies of streamed responses, for whoever reads them."""

from __future__ import annotations

import json

from llamawire.dialects import DONE_EVENT

LOADING = b'data: {"error": {"message": "wait", "type": "model_loading", "param": null, "code": "model_loading"}}\n\n'


def event(text: str, finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}
    return b"data: %b\n\n" % json.dumps({"id": "1", "choices": [choice]}).encode()


HELLO = [event("Hel"), event("lo", "stop"), DONE_EVENT]


class Body:
    """A body that tells whether it was closed, and may fail."""

    def __init__(self, *pieces: bytes, failure: Exception | None = None):
        self._pieces = iter(pieces)
        self._failure = failure
        self.num_closed = 0

    def __iter__(self):
        return self

    def __next__(self):
        for piece in self._pieces:
            return piece
        if self._failure is not None:
            raise self._failure
        raise StopIteration

    def close(self):
        self.num_closed += 1


class AsyncBody(Body):
    def __aiter__(self):
        return self

    async def __anext__(self):
        try:
            return next(self)
        except StopIteration:
            raise StopAsyncIteration from None

    async def aclose(self):
        self.num_closed += 1
