"""The requests of one worker: conversations in, events out, one engine step at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from llamawire_server.chat.pipeline import TextPipeline
from llamawire_server.chat.template import ChatTemplate, TemplateError
from llamawire_server.engine.engine import Engine, TokenOutput
from llamawire_server.engine.scheduler import Limits, Step
from llamawire_server.engine.sequence import FinishReason, Sequence
from llamawire_server.worker.messages import (
    ChatPrompt,
    ChoiceProgress,
    Completed,
    Event,
    Failed,
    Generate,
    Started,
    TextDelta,
)

log = logging.getLogger(__name__)


class Vocabulary(Protocol):
    """The tokenizer, as far as requests need it."""

    @property
    def bos_text(self) -> str: ...

    @property
    def longest_piece_bytes(self) -> int: ...

    def tokenize(
        self, text: str, *, add_special: bool, parse_special: bool, limit: int | None = None
    ) -> list[int]: ...

    def piece(self, token: int) -> bytes: ...


class RequestError(Exception):
    """A request that can't be answered; `condition` names a `Condition` of the error table."""

    def __init__(self, condition: str, reason: str, message: str, field: str = "") -> None:
        super().__init__(message)
        self.condition = condition
        self.reason = reason
        self.field = field

    def event(self, request_id: int) -> Failed:
        """The error as the request's last event."""
        return Failed(request_id, self.condition, self.reason, str(self), self.field)


class PromptBuilder:
    """Conversations to tokens.

    It works between two steps, so it gives up early on what is far too long: everybody waits for it.
    """

    # So many contexts are counted to the end, for an error that says both lengths.
    _COUNTED_CONTEXTS = 4
    # English has about four bytes a token; only what is far longer is looked at more closely.
    _USUAL_TOKEN_BYTES = 16

    def __init__(self, vocabulary: Vocabulary, template: ChatTemplate | None, context_length: int) -> None:
        self._vocabulary = vocabulary
        self._template = template
        self._context_length = context_length

    def build(self, prompt: ChatPrompt, now: float) -> list[int]:
        """The prompt's tokens. now: what the template takes for it, in seconds since 1970.

        Raises RequestError where the template does not take the conversation, and where it is so long that the
        context can't hold it whatever the template and the tokenizer make of it.
        """
        if self._template is None:
            raise RequestError(
                "UNSUPPORTED",
                "NO_CHAT_TEMPLATE",
                "the model has no chat template; give it one with `chat_template` in models.yaml",
                "messages",
            )
        if len(prompt.messages) > self._context_length:
            raise self._too_long(len(prompt.messages))
        try:
            text = self._template.render(
                prompt.messages, tools=prompt.tools, variables=prompt.variables, now=now
            )
        except TemplateError as error:
            raise RequestError("INVALID", "CHAT_TEMPLATE_REFUSED", str(error), "messages") from error
        if len(text) > self._context_length * self._USUAL_TOKEN_BYTES:
            fewest = len(text.encode("utf-8", "replace")) // self._vocabulary.longest_piece_bytes
            if fewest > self._context_length:
                raise self._too_long(fewest)
        bos = self._vocabulary.bos_text
        # Many templates write the begin-of-sequence token themselves; twice would be one too many.
        has_bos = bool(bos) and text.startswith(bos)
        limit = self._COUNTED_CONTEXTS * self._context_length
        tokens = self._vocabulary.tokenize(text, add_special=not has_bos, parse_special=True, limit=limit)
        if len(tokens) > limit:
            raise self._too_long(len(tokens))
        return tokens

    def _too_long(self, fewest_tokens: int) -> RequestError:
        return RequestError(
            "INVALID",
            "CONTEXT_LENGTH_EXCEEDED",
            f"the prompt has {fewest_tokens} tokens at least; the model's context has {self._context_length}",
            "messages",
        )


@dataclass(eq=False)
class Generation:
    """One request being answered."""

    request_id: int
    sequences: list[Sequence]
    pipelines: dict[Sequence, TextPipeline]
    arrived: float
    """Times are those of time.monotonic, in seconds."""
    started: float | None = None
    first_token: float | None = None
    has_begun: bool = False
    """Whether any of it was computed here."""
    unfinished: set[Sequence] = field(default_factory=set)

    def completed(self, now: float) -> Completed:
        """The request's last event, at its end."""
        started = self.started if self.started is not None else now
        first_token = self.first_token if self.first_token is not None else now
        return Completed(
            self.request_id,
            num_prompt_tokens=self.sequences[0].num_prompt_tokens,
            num_cached_tokens=0,
            num_completion_tokens=sum(sequence.num_output_tokens for sequence in self.sequences),
            queue_seconds=started - self.arrived,
            prompt_seconds=first_token - started,
            generation_seconds=now - first_token,
        )


class Generations:
    """All requests that the worker has."""

    def __init__(
        self, engine: Engine, limits: Limits, vocabulary: Vocabulary, prompts: PromptBuilder
    ) -> None:
        self._engine = engine
        self._limits = limits
        self._vocabulary = vocabulary
        self._prompts = prompts
        self._active: dict[int, Generation] = {}
        self._not_begun: list[Generation] = []
        self._step = Step()

    @property
    def has_work(self) -> bool:
        """Whether there is anything to do in a step."""
        return self._engine.has_work

    def start(self, request: Generate) -> None:
        """Take a request in, where it begins or where it goes on. Raises RequestError, having taken nothing in."""
        prompt = self._prompts.build(request.prompt, request.arrived_at)
        max_tokens = self._max_tokens(len(prompt), request)
        stop_token_ids = frozenset(request.stop_token_ids)
        progress = request.progress
        choices = progress.choices if progress else [ChoiceProgress([])] * request.num_choices
        sequences = [
            Sequence(
                request_id=request.request_id,
                index=index,
                tokens=prompt + choice.tokens,
                num_prompt_tokens=len(prompt),
                max_tokens=max_tokens,
                sampling=request.sampling,
                stop_token_ids=stop_token_ids,
                finish_reason=FinishReason(choice.finish_reason) if choice.finish_reason else None,
            )
            for index, choice in enumerate(choices)
        ]
        generation = Generation(
            request.request_id,
            sequences,
            {sequence: self._pipeline(sequence, request.stops) for sequence in sequences},
            request.arrived,
            started=progress.started if progress else None,
            first_token=progress.first_token if progress else None,
            unfinished={sequence for sequence in sequences if sequence.finish_reason is None},
        )
        if any(choice.tokens for choice in choices):
            # What was one prompt has become several.
            for sequence in generation.unfinished:
                self._engine.add([sequence])
        else:
            self._engine.add(sequences)
        self._active[request.request_id] = generation
        self._not_begun.append(generation)

    def _pipeline(self, sequence: Sequence, stops: list[str]) -> TextPipeline:
        """The sequence's pipeline as it stands after its tokens so far, whose text was sent already."""
        pipeline = TextPipeline(stops)
        for token in sequence.tokens[sequence.num_prompt_tokens :]:
            pipeline.feed(self._vocabulary.piece(token))
        return pipeline

    def cancel(self, request_id: int) -> None:
        """Drop a request, wherever it stands; nothing more is said of it. One that is not there is no error."""
        generation = self._active.pop(request_id, None)
        if generation is None:
            return
        for sequence in generation.sequences:
            self._engine.finish(sequence, FinishReason.STOP)
        if not generation.has_begun:
            self._not_begun.remove(generation)

    def schedule(self) -> list[Event]:
        """Decide what to compute next; gives the requests that begin with it. To be followed by `run`."""
        self._step = self._engine.schedule()
        if not self._not_begun:
            return []
        scheduled = {piece.sequence.request_id for piece in self._step.slices}
        now = time.monotonic()
        events: list[Event] = []
        for generation in self._not_begun:
            if generation.request_id in scheduled:
                generation.has_begun = True
                # A request that goes on here has begun elsewhere.
                generation.started = now if generation.started is None else generation.started
                events.append(Started(generation.request_id, now))
        self._not_begun = [generation for generation in self._not_begun if not generation.has_begun]
        return events

    def run(self) -> list[Event]:
        """Compute what was scheduled; gives what it brought for each request."""
        outputs = self._engine.run(self._step)
        now = time.monotonic()
        events: list[Event] = []
        for output in outputs:
            generation = self._active.get(output.sequence.request_id)
            if generation is not None:
                events += self._advance(generation, output, now)
        return events

    def _advance(self, generation: Generation, output: TokenOutput, now: float) -> Iterable[Event]:
        sequence = output.sequence
        if sequence.finish_reason is FinishReason.FAILED:
            self.cancel(generation.request_id)
            error = RequestError(
                "ENGINE", "DECODE_FAILED", "llama.cpp could not compute this request's tokens"
            )
            return [error.event(generation.request_id)]
        if generation.first_token is None:
            generation.first_token = now
        pipeline = generation.pipelines[sequence]
        text = pipeline.feed(self._vocabulary.piece(output.token)) if output.is_text else ""
        if not pipeline.is_stopped and sequence.finish_reason is not None:
            text += pipeline.flush()
        reason = sequence.finish_reason
        if pipeline.is_stopped:
            self._engine.finish(sequence, FinishReason.STOP)
            reason = FinishReason.STOP
        if reason is None:
            return [TextDelta(generation.request_id, sequence.index, text, [output.token])]
        generation.unfinished.discard(sequence)
        events: list[Event] = [
            TextDelta(generation.request_id, sequence.index, text, [output.token], reason.value)
        ]
        if not generation.unfinished:
            del self._active[generation.request_id]
            events.append(generation.completed(now))
        return events

    def _max_tokens(self, num_prompt_tokens: int, request: Generate) -> int:
        context_length = self._limits.context_length
        room = context_length - num_prompt_tokens
        if room < 1:
            raise RequestError(
                "INVALID",
                "CONTEXT_LENGTH_EXCEEDED",
                f"the prompt has {num_prompt_tokens} tokens; the model's context has {context_length}, "
                "and an answer needs at least one of them",
                "messages",
            )
        if request.is_max_tokens_explicit and request.max_tokens > room:
            raise RequestError(
                "INVALID",
                "CONTEXT_LENGTH_EXCEEDED",
                f"max_tokens is {request.max_tokens} and the prompt has {num_prompt_tokens} tokens; "
                f"together they exceed the model's context of {context_length}",
                "max_tokens",
            )
        return min(request.max_tokens, room)
