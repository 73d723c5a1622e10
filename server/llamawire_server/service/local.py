"""The service on this process's own pool of models."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Generator

from llamawire.v1 import chat_pb2, completion_pb2, embedding_pb2, model_pb2, tokenizer_pb2
from llamawire_server.errors import Condition, ServiceError, invalid_field
from llamawire_server.models.resolver import ModelEntry, Resolver
from llamawire_server.pool.pool import Lease, ModelStatus, Pool
from llamawire_server.pool.roster import Roster
from llamawire_server.service import embedding, validation
from llamawire_server.service.answer import Answer
from llamawire_server.service.catalogue import describe
from llamawire_server.service.completions.answer import CompletionAnswer, PromptEvents
from llamawire_server.service.completions.prompt import build_generates
from llamawire_server.service.completions.together import together
from llamawire_server.service.completions.validation import (
    check_completion_against_model,
    check_completion_request,
    num_generated,
)
from llamawire_server.service.interface import Call
from llamawire_server.service.prompt import SamplingRequest, build_generate, build_prompt
from llamawire_server.worker.embedding_messages import Vectors
from llamawire_server.worker.messages import (
    CountTokens,
    Detokenize,
    Event,
    RenderedPrompt,
    RenderPrompt,
    Text,
    TokenCount,
    Tokenize,
    Tokens,
)


class LocalService:
    """Implements `service.interface.Service`."""

    def __init__(self, resolver: Resolver, pool: Pool, roster: Roster) -> None:
        self._resolver = resolver
        self._pool = pool
        self._roster = roster
        self._is_ready = False
        self._is_draining = False
        self._num_calls = 0
        self._idle = asyncio.Event()

    def mark_ready(self) -> None:
        """What is to be loaded at the start is loaded. Calls are taken before that too; they wait for it."""
        self._is_ready = True

    async def drain(self, grace_seconds: float) -> bool:
        """Refuse new calls from now on, and wait for the running ones to end; False where some did not."""
        self._is_draining = True
        self._idle.clear()
        if not self._num_calls:
            return True
        try:
            await asyncio.wait_for(self._idle.wait(), grace_seconds)
        except asyncio.TimeoutError:
            return False
        return True

    async def is_serving(self) -> bool:
        return self._is_ready and not self._is_draining

    async def create_chat_completion(
        self, request: chat_pb2.ChatCompletionRequest, call: Call
    ) -> chat_pb2.ChatCompletion:
        async with self._generation(request, call) as (answer, steps):
            return answer.whole([event async for events in steps for event in events])

    async def stream_chat_completion(
        self, request: chat_pb2.ChatCompletionRequest, call: Call
    ) -> AsyncGenerator[chat_pb2.ChatCompletionChunk, None]:
        async with self._generation(request, call) as (answer, steps):
            async for events in steps:
                for chunk in answer.chunks(events):
                    yield chunk

    async def create_completion(
        self, request: completion_pb2.CompletionRequest, call: Call
    ) -> completion_pb2.Completion:
        async with self._completion(request, call) as (answer, steps):
            return answer.whole([events async for step in steps for events in step])

    async def stream_completion(
        self, request: completion_pb2.CompletionRequest, call: Call
    ) -> AsyncGenerator[completion_pb2.CompletionChunk, None]:
        async with self._completion(request, call, is_streamed=True) as (answer, steps):
            async for step in steps:
                for chunk in answer.chunks(step):
                    yield chunk

    async def list_models(
        self, request: model_pb2.ListModelsRequest, call: Call
    ) -> model_pb2.ListModelsResponse:
        self._check_open()
        await self._roster.refresh()
        models = [self._describe(view.entry, view.status) for view in self._roster.models()]
        return model_pb2.ListModelsResponse(models=models)

    async def get_model(self, request: model_pb2.GetModelRequest, call: Call) -> model_pb2.GetModelResponse:
        if not request.name.strip():
            raise invalid_field("name", "is required")
        self._check_open()
        await self._roster.refresh()
        view = self._roster.find(request.name)
        if view is None:
            entry = await asyncio.to_thread(self._resolver.resolve, request.name)
            view = self._roster.view(entry)
        return model_pb2.GetModelResponse(model=self._describe(view.entry, view.status))

    async def watch_models(
        self, request: model_pb2.WatchModelsRequest, call: Call
    ) -> AsyncGenerator[model_pb2.WatchModelsResponse, None]:
        # Not a call in flight: it would never end by itself, and ends when the roster is closed.
        validation.check_watch(request)
        async with contextlib.aclosing(self._roster.watch(request.names)) as watch:
            async for news in watch:
                models = [self._describe(view.entry, view.status) for view in news.models]
                yield model_pb2.WatchModelsResponse(models=models, removed=news.removed)

    async def load_model(
        self, request: model_pb2.LoadModelRequest, call: Call
    ) -> AsyncGenerator[model_pb2.LoadModelResponse, None]:
        validation.check_name(request.name)
        with self._in_flight():
            statuses = self._pool.load(request.name, call.timeout_seconds)
            async with contextlib.aclosing(statuses):
                async for status in statuses:
                    yield model_pb2.LoadModelResponse(model=self._describe(status.entry, status))

    async def unload_model(
        self, request: model_pb2.UnloadModelRequest, call: Call
    ) -> model_pb2.UnloadModelResponse:
        validation.check_name(request.name)
        with self._in_flight():
            entry = await self._pool.unload(
                request.name, cancel_running=request.cancel_running, timeout_seconds=call.timeout_seconds
            )
        return model_pb2.UnloadModelResponse(
            model=self._describe(entry, self._pool.statuses().get(entry.path))
        )

    async def tokenize(
        self, request: tokenizer_pb2.TokenizeRequest, call: Call
    ) -> tokenizer_pb2.TokenizeResponse:
        validation.check_tokenize(request)
        async with self._leased(request.model, call) as (lease, clock):
            validation.check_tokenize(request, lease.worker.facts.vocabulary_size)
            message = Tokenize(
                lease.worker.next_request_id(),
                request.text,
                add_special=request.add_special if request.HasField("add_special") else True,
                parse_special=request.parse_special,
                unparse_special=request.unparse_special,
                parts=[
                    part.text if part.WhichOneof("part") == "text" else list(part.tokens.tokens)
                    for part in request.parts
                ],
            )
            answer = await lease.worker.ask(message, Tokens, clock.remaining_seconds())
        return tokenizer_pb2.TokenizeResponse(tokens=answer.tokens, pieces=answer.pieces)

    async def detokenize(
        self, request: tokenizer_pb2.DetokenizeRequest, call: Call
    ) -> tokenizer_pb2.DetokenizeResponse:
        validation.check_detokenize(request)
        async with self._leased(request.model, call) as (lease, clock):
            validation.check_detokenize(request, lease.worker.facts.vocabulary_size)
            message = Detokenize(
                lease.worker.next_request_id(), list(request.tokens), unparse_special=request.unparse_special
            )
            answer = await lease.worker.ask(message, Text, clock.remaining_seconds())
        return tokenizer_pb2.DetokenizeResponse(text=answer.text)

    async def count_chat_tokens(
        self, request: tokenizer_pb2.CountChatTokensRequest, call: Call
    ) -> tokenizer_pb2.CountChatTokensResponse:
        validation.check_prompt(request.request)
        wait = _waits_for_model(request.request)
        async with self._leased(request.request.model, call, wait=wait) as (lease, clock):
            message = CountTokens(lease.worker.next_request_id(), time.time(), build_prompt(request.request))
            answer = await lease.worker.ask(message, TokenCount, clock.remaining_seconds())
        return tokenizer_pb2.CountChatTokensResponse(
            prompt_tokens=answer.num_prompt_tokens, context_length=answer.context_length
        )

    async def apply_chat_template(
        self, request: tokenizer_pb2.ApplyChatTemplateRequest, call: Call
    ) -> tokenizer_pb2.ApplyChatTemplateResponse:
        validation.check_prompt(request.request)
        wait = _waits_for_model(request.request)
        async with self._leased(request.request.model, call, wait=wait) as (lease, clock):
            message = RenderPrompt(
                lease.worker.next_request_id(),
                time.time(),
                build_prompt(request.request),
                request.add_generation_prompt if request.HasField("add_generation_prompt") else True,
            )
            answer = await lease.worker.ask(message, RenderedPrompt, clock.remaining_seconds())
        return tokenizer_pb2.ApplyChatTemplateResponse(prompt=answer.text, tokens=answer.tokens)

    async def create_embeddings(
        self, request: embedding_pb2.CreateEmbeddingsRequest, call: Call
    ) -> embedding_pb2.CreateEmbeddingsResponse:
        embedding.check_embeddings(request)
        wait = request.wait_for_model if request.HasField("wait_for_model") else True
        async with self._leased(request.model, call, wait=wait) as (lease, clock):
            embedding.check_against_model(request, lease.worker.facts)
            message = embedding.build_embed(request, lease.worker.next_request_id(), clock.deadline)
            answer = embedding.EmbeddingAnswer(lease.entry.name)
            steps = lease.worker.events(message, clock.remaining_seconds())
            async with contextlib.aclosing(steps):
                async for events in steps:
                    for event in events:
                        if isinstance(event, Vectors):
                            answer.add(event)
        return answer.response

    def _describe(self, entry: ModelEntry, status: ModelStatus | None) -> model_pb2.Model:
        return describe(entry, status, self._pool.failure(entry.path), self._pool.memory_bytes(entry))

    @contextlib.asynccontextmanager
    async def _generation(
        self, request: chat_pb2.ChatCompletionRequest, call: Call
    ) -> AsyncGenerator[tuple[Answer, AsyncGenerator[list[Event], None]], None]:
        """A request on its way through a worker; leaving ends it."""
        arrived = time.monotonic()
        validation.check_chat_request(request)
        wait = _waits_for_model(request)
        async with self._leased(request.model, call, wait=wait) as (lease, clock):
            worker = lease.worker
            validation.check_against_model(
                request, vocabulary_size=worker.facts.vocabulary_size, parallel=worker.facts.parallel
            )
            defaults = lease.entry.settings.defaults
            generate = build_generate(request, worker.next_request_id(), defaults, clock.deadline)
            steps = worker.events(generate, clock.remaining_seconds())
            answer = Answer(
                lease,
                generate.num_choices,
                arrived,
                has_logprobs=request.logprobs,
                has_running_usage=request.continuous_usage,
            )
            try:
                yield answer, steps
            finally:
                await steps.aclose()

    @contextlib.asynccontextmanager
    async def _completion(
        self, request: completion_pb2.CompletionRequest, call: Call, *, is_streamed: bool = False
    ) -> AsyncGenerator[tuple[CompletionAnswer, AsyncGenerator[list[PromptEvents], None]], None]:
        """A request's prompts on their way through a worker; leaving ends them."""
        arrived = time.monotonic()
        check_completion_request(request, is_streamed=is_streamed)
        async with self._leased(request.model, call, wait=_waits_for_model(request)) as (lease, clock):
            worker = lease.worker
            check_completion_against_model(
                request, vocabulary_size=worker.facts.vocabulary_size, parallel=worker.facts.parallel
            )
            defaults = lease.entry.settings.defaults
            generates = build_generates(request, worker.next_request_id, defaults, clock.deadline)
            answer = CompletionAnswer(
                lease,
                len(generates),
                request.n if request.HasField("n") else 1,
                arrived,
                num_generated=num_generated(request),
                has_logprobs=request.HasField("logprobs"),
                has_running_usage=request.continuous_usage,
            )
            steps = together([worker.events(generate, clock.remaining_seconds()) for generate in generates])
            async with contextlib.aclosing(steps):
                yield answer, steps

    @contextlib.asynccontextmanager
    async def _leased(
        self, name: str, call: Call, *, wait: bool = True
    ) -> AsyncGenerator[tuple[Lease, Clock], None]:
        """A lease on a model, and the caller's clock. Counts as a call in flight.

        wait: whether to wait for a model that is not loaded.
        """
        with self._in_flight():
            clock = Clock(call.timeout_seconds)
            async with self._pool.lease(name, clock.remaining_seconds(), wait=wait) as lease:
                yield lease, clock

    def _check_open(self) -> None:
        if self._is_draining:
            raise ServiceError(Condition.NOT_READY, "DRAINING", "the server is shutting down")

    @contextlib.contextmanager
    def _in_flight(self) -> Generator[None, None, None]:
        """A call that the server finishes before it ends. Raises ServiceError where no new ones are taken."""
        self._check_open()
        self._num_calls += 1
        try:
            yield
        finally:
            self._num_calls -= 1
            if not self._num_calls:
                self._idle.set()


def _waits_for_model(request: SamplingRequest) -> bool:
    return request.wait_for_model if request.HasField("wait_for_model") else True


class Clock:
    """What is left of a caller's deadline."""

    def __init__(self, timeout_seconds: float | None) -> None:
        self.deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        """By time.monotonic; None where there is none."""

    def remaining_seconds(self) -> float | None:
        """Seconds left, 0 at least; None where there is no deadline."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())
