"""Streams about models: a load as it goes on, and news of how models stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from llamawire.attempts import Attempts
from llamawire.response_stream import AsyncResponseStream, ResponseStream, StreamState
from llamawire.v1 import model_pb2


class _LoadState(StreamState[model_pb2.LoadModelResponse, model_pb2.Model]):
    """How far a load has come."""

    def __init__(self, attempts: Attempts) -> None:
        super().__init__(attempts)
        self._model = model_pb2.Model()

    @property
    def model(self) -> model_pb2.Model:
        """The model as it stood last; an empty one before anything was said of it."""
        return self._model

    def _take(self, response: model_pb2.LoadModelResponse) -> model_pb2.Model:
        self._model = response.model
        return response.model


class ModelLoad(ResponseStream[model_pb2.LoadModelResponse, model_pb2.Model], _LoadState):
    """A model that is being loaded: the model as it stands, again and again, ready at last.

        for model in client.models.load("smollm2"):
            print(f"{model.load_progress:.0%}")

    `result` is for who only wants to know when it is there. A stream that is closed early no longer waits for
    the load, which ends where nobody else does.
    """

    def result(self) -> model_pb2.Model:
        """Read to the end, and give the loaded model with all of its facts."""
        for _ in self:
            pass
        return self.model


class AsyncModelLoad(AsyncResponseStream[model_pb2.LoadModelResponse, model_pb2.Model], _LoadState):
    """A model that is being loaded, for asyncio: ModelLoad, awaited."""

    async def result(self) -> model_pb2.Model:
        """Read to the end, and give the loaded model with all of its facts."""
        async for _ in self:
            pass
        return self.model


class ModelNews:
    """What has changed since the last news; at first, how all models stand."""

    __slots__ = ("proto",)

    def __init__(self, proto: model_pb2.WatchModelsResponse) -> None:
        self.proto = proto

    @property
    def models(self) -> Sequence[model_pb2.Model]:
        """The models that are new or changed, as they stand now."""
        return self.proto.models

    @property
    def removed(self) -> Sequence[str]:
        """The names of models that can't be named any more."""
        return self.proto.removed


class _WatchState(StreamState[model_pb2.WatchModelsResponse, ModelNews]):
    """What all the news add up to."""

    def __init__(self, attempts: Attempts) -> None:
        super().__init__(attempts)
        self._models: dict[str, model_pb2.Model] = {}

    @property
    def models(self) -> Mapping[str, model_pb2.Model]:
        """Every watched model as it was last told of, by name."""
        return MappingProxyType(self._models)

    def _take(self, response: model_pb2.WatchModelsResponse) -> ModelNews:
        for name in response.removed:
            self._models.pop(name, None)
        self._models.update((model.name, model) for model in response.models)
        return ModelNews(response)


class ModelWatch(ResponseStream[model_pb2.WatchModelsResponse, ModelNews], _WatchState):
    """News of models, until the stream is closed or the connection breaks, which raises LlamawireError.

    with client.models.watch() as watch:
        for news in watch:
            for model in news.models:
                print(model.name, model.state)
    """


class AsyncModelWatch(AsyncResponseStream[model_pb2.WatchModelsResponse, ModelNews], _WatchState):
    """News of models, for asyncio: ModelWatch, awaited."""
