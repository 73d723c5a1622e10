"""The requests of one worker: conversations and texts in, events out, one engine step at a time."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import msgspec

from llamawire_server.chat.plan import Plan
from llamawire_server.engine.constraint import ConstraintError
from llamawire_server.engine.drafting.prompt_lookup import PromptLookup
from llamawire_server.engine.engine import Engine, Output
from llamawire_server.engine.logprobs import TokenLogprobs
from llamawire_server.engine.sequence import FinishReason, PromptScores, Sequence
from llamawire_server.engine.step import Limits, Step
from llamawire_server.worker.child.answer_plans import AnswerPlans
from llamawire_server.worker.child.echo import PromptEcho
from llamawire_server.worker.child.forms import Asked, Form, FormMaker, Made
from llamawire_server.worker.child.line import Line
from llamawire_server.worker.child.prompts import PromptBuilder, RequestError, Vocabulary
from llamawire_server.worker.child.rank import rank
from llamawire_server.worker.child.reader import Reader, ReasoningBudget
from llamawire_server.worker.messages import (
    Completed,
    Event,
    Generate,
    RawPrompt,
    Started,
    Taken,
    TextDelta,
)
from llamawire_server.worker.progress import ChoiceProgress

# Of a step's time, what a small form takes is not worth another turn.
PATIENCE_SECONDS = 0.005


@dataclass(eq=False)
class Generation:
    """One request being answered."""

    request_id: int
    sequences: list[Sequence]
    readers: dict[Sequence, Reader]
    drafters: list[PromptLookup]
    num_predicted_tokens: int
    """Of the caller's prediction."""
    grammar_field: str
    """What of the request has a grammar; empty where nothing has."""
    is_prompt_alone: bool
    """Whether the prompt is all that is to be computed. A token is sampled at its end all the same, for nothing."""
    echo: PromptEcho | None
    """What the choices begin with; None where that is what is generated."""
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
        num_accepted = [drafter.num_predicted_tokens for drafter in self.drafters]
        return Completed(
            self.request_id,
            num_prompt_tokens=self.sequences[0].num_prompt_tokens,
            num_cached_tokens=self.sequences[0].num_cached_tokens or 0,
            num_completion_tokens=sum(sequence.num_output_tokens for sequence in self.sequences),
            queue_seconds=started - self.arrived,
            prompt_seconds=first_token - started,
            generation_seconds=now - first_token,
            num_accepted_prediction_tokens=sum(num_accepted),
            num_rejected_prediction_tokens=sum(
                self.num_predicted_tokens - accepted for accepted in num_accepted
            ),
            num_accepted_draft_tokens=sum(one.num_accepted_draft_tokens for one in self.sequences),
            num_rejected_draft_tokens=sum(one.num_rejected_draft_tokens for one in self.sequences),
            num_reasoning_tokens=sum(reader.num_reasoning_tokens for reader in self.readers.values()),
        )


class Generations:
    """All requests that the worker has."""

    def __init__(
        self,
        engine: Engine,
        limits: Limits,
        vocabulary: Vocabulary,
        prompts: PromptBuilder,
        plans: AnswerPlans,
        *,
        max_queued_tokens: int = 1_000_000,
        looks_back: bool = True,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """max_queued_tokens: of prompts that may wait. looks_back: whether to guess tokens from the text so far.
        patience_seconds: how long the running streams wait for the form of an answer."""
        self._engine = engine
        self._limits = limits
        self._vocabulary = vocabulary
        self._prompts = prompts
        self._plans = plans
        self._looks_back = looks_back
        self._patience_seconds = patience_seconds
        self._forms = FormMaker(lambda asked: plans.form(asked.request, asked.text, asked.num_choices))
        self._line = Line(limits.num_slots, max_queued_tokens)
        self._active: dict[int, Generation] = {}
        self._not_begun: list[Generation] = []
        self._step = Step()

    @property
    def has_work(self) -> bool:
        """Whether there is anything to do in a step."""
        return self._engine.has_work

    @property
    def is_making_form(self) -> bool:
        """Whether an answer's form is being made, which takes no steps."""
        return self._forms.is_making

    @property
    def next_form(self) -> int | None:
        """Whose form is to be begun now, with `begin_form`; None where one is being made, or none waits."""
        asked = self._forms.next
        return None if asked is None else asked.request.request_id

    def start(self, request: Generate) -> list[Event]:
        """Take a request in, where it begins or where it goes on; gives what is to be said of that.

        Nothing is said while its answer's form is being made; that it is in line, where that has to wait for others'.
        Raises RequestError, having taken nothing in.
        """
        asked = self._read(request)
        if not asked.has_form:
            self._begin(asked, self._plans.form(request, asked.text, asked.num_choices))
            return [Taken(request.request_id)]
        self._forms.add(asked)
        if self._forms.next is not asked:
            return [Taken(request.request_id)]
        self._forms.begin(asked)
        # Most are small, or known.
        self._forms.wait(self._patience_seconds)
        made = self._forms.take()
        return [] if made is None else self.admit(made)

    def begin_form(self) -> None:
        """Begin the form of `next_form`."""
        asked = self._forms.next
        if asked is not None:
            self._forms.begin(asked)

    def wait_for_form(self, seconds: float) -> None:
        """Until the form that is being made is there, for so long at most."""
        self._forms.wait(seconds)

    def take_form(self) -> Made | None:
        """The form that was made by now, for `admit`."""
        return self._forms.take()

    def admit(self, made: Made) -> list[Event]:
        """Let a request line up whose form is made; gives what is to be said of that. Raises RequestError where it
        could not be made, or can't be used."""
        self._begin(made.asked, made.form())
        return [Taken(made.request_id)]

    def _read(self, request: Generate) -> Asked:
        """Make a request's prompt. Raises RequestError where it can't be answered, or not now."""
        prepared = self._prompts.prepare(request.prompt, request.arrived_at)
        tokens = prepared.tokens
        max_tokens = self._max_tokens(len(tokens), request)
        place = rank(request.arrived, request.priority)
        if request.progress is None:
            queue = self._engine.queue(place)
            queue = replace(
                queue,
                num_ahead=queue.num_ahead + self._forms.num_ahead(place),
                num_waiting=queue.num_waiting + len(self._forms),
                num_waiting_tokens=queue.num_waiting_tokens + self._forms.num_tokens,
            )
            self._line.check(len(tokens), request.deadline, queue)
        num_choices = len(request.progress.choices) if request.progress else request.num_choices
        return Asked(request, prepared.text, tokens, max_tokens, num_choices, place)

    def _begin(self, asked: Asked, form: Form) -> None:
        """Line a request up. Raises RequestError, having done nothing."""
        request, prompt, progress = asked.request, asked.tokens, asked.request.progress
        stop_token_ids = frozenset(request.stop_token_ids)
        choices = progress.choices if progress else [ChoiceProgress([])] * asked.num_choices
        prediction = self._prediction(request)
        drafters = [PromptLookup(prediction, looks_back=self._looks_back) for _ in choices]
        has_begun = any(choice.tokens for choice in choices)
        scores = _scores(request, len(prompt)) if not has_begun else None
        sequences = [
            Sequence(
                request_id=request.request_id,
                index=index,
                tokens=prompt + choice.tokens,
                num_prompt_tokens=len(prompt),
                max_tokens=max(1, asked.max_tokens),
                sampling=request.sampling,
                stop_token_ids=stop_token_ids,
                rank=asked.rank,
                drafter=drafters[index],
                constraint=form.constraints[index],
                num_top_logprobs=request.num_top_logprobs,
                prompt_scores=scores,
                num_cached_tokens=progress.num_cached_tokens if progress else None,
                finish_reason=_engine_reason(choice.finish_reason),
            )
            for index, choice in enumerate(choices)
        ]
        readers = {
            sequence: self._reader(sequence, form.plan, request, choice.held)
            for sequence, choice in zip(sequences, choices, strict=True)
        }
        generation = Generation(
            request.request_id,
            sequences,
            readers,
            drafters,
            len(prediction),
            form.plan.field,
            asked.max_tokens == 0,
            self._echo(request, sequences) if not has_begun else None,
            request.arrived,
            started=progress.started if progress else None,
            first_token=progress.first_token if progress else None,
            unfinished={sequence for sequence in sequences if sequence.finish_reason is None},
        )
        if has_begun:
            # What was one prompt has become several.
            for sequence in generation.unfinished:
                self._engine.add([sequence])
        else:
            self._engine.add(sequences)
        self._active[request.request_id] = generation
        self._not_begun.append(generation)

    def _echo(self, request: Generate, sequences: list[Sequence]) -> PromptEcho | None:
        if not request.echo or not isinstance(request.prompt, RawPrompt):
            return None
        return PromptEcho(request.prompt, sequences, self._vocabulary)

    def _prediction(self, request: Generate) -> list[int]:
        if not request.prediction:
            return []
        return self._vocabulary.tokenize(
            request.prediction, add_special=False, parse_special=False, limit=self._limits.context_length
        )[: self._limits.context_length]

    def _reader(self, sequence: Sequence, plan: Plan, request: Generate, held: list[TokenLogprobs]) -> Reader:
        """The sequence's reader as it stands after its tokens so far, whose text was sent already; the sequence's
        constraint and drafter are brought there too. held: as that of `ChoiceProgress`."""
        tokens = sequence.tokens[sequence.num_prompt_tokens :]
        pieces = self._plans.pieces(plan.markers)
        budget, pipeline = self._budget(plan, request), plan.pipeline(request.stops)
        reader = Reader(sequence, pipeline, pieces, budget, counts_tokens=request.counts_tokens)
        try:
            reader.replay(tokens, held)
        except ConstraintError as error:
            raise RequestError("INVALID", "GRAMMAR_FAILED", str(error), plan.field) from error
        if sequence.drafter is not None:
            sequence.drafter.follow(sequence.tokens, sequence.num_output_tokens)
        return reader

    def _budget(self, plan: Plan, request: Generate) -> ReasoningBudget | None:
        if request.reasoning_budget is None or not plan.end_of_reasoning:
            return None
        end_tokens = self._vocabulary.tokenize(plan.end_of_reasoning, add_special=False, parse_special=True)
        return ReasoningBudget(request.reasoning_budget, end_tokens)

    def cancel(self, request_id: int) -> None:
        """Drop a request, wherever it stands; nothing more is said of it. One that is not there is no error."""
        generation = self._active.pop(request_id, None)
        if generation is None:
            self._forms.cancel(request_id)
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

    def _advance(self, generation: Generation, output: Output, now: float) -> Iterable[Event]:
        sequence = output.sequence
        if sequence.finish_reason is FinishReason.FAILED:
            self.cancel(generation.request_id)
            return [_failure(sequence, generation.grammar_field).event(generation.request_id)]
        if generation.first_token is None:
            generation.first_token = now
        reader = generation.readers[sequence]
        if generation.is_prompt_alone:
            delta = TextDelta(generation.request_id, sequence.index, "", [])
        else:
            delta = reader.read(output)
        if generation.echo is not None and (echo := generation.echo.take(sequence)) is not None:
            delta = msgspec.structs.replace(delta, echo=echo)
        # What was guessed beyond a stop string is no part of the answer.
        del sequence.tokens[len(sequence.tokens) - len(output.tokens) + len(delta.tokens) :]
        reason = sequence.finish_reason
        if reader.is_stopped:
            self._engine.finish(sequence, FinishReason.STOP)
            reason = FinishReason.STOP
        if reason is None:
            return [delta]
        if generation.is_prompt_alone:
            reason = FinishReason.LENGTH
        generation.unfinished.discard(sequence)
        sequence.settle()
        generation.drafters[sequence.index].end(len(sequence.tokens))
        last = msgspec.structs.replace(
            delta, finish_reason=reader.finish_reason(reason), matched_stop=reader.matched_stop
        )
        events: list[Event] = [last]
        if not generation.unfinished:
            del self._active[generation.request_id]
            if generation.started is not None:
                self._line.note_served(now - generation.started)
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
                request.prompt.field,
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


def _scores(request: Generate, num_prompt_tokens: int) -> PromptScores | None:
    """What is to be filled in with how likely the prompt's tokens are; None where that is not wanted."""
    if not request.scores_prompt or request.num_top_logprobs is None:
        return None
    return PromptScores(request.num_top_logprobs, num_prompt_tokens - 1)


def _engine_reason(name: str) -> FinishReason | None:
    """Why a sequence ended, by what its caller was told."""
    if not name:
        return None
    return FinishReason.STOP if name == "tool_calls" else FinishReason(name)


def _failure(sequence: Sequence, grammar_field: str) -> RequestError:
    if sequence.failure:
        # It is too much for a single token, or allows none that there is: that shows on the way only.
        return RequestError("INVALID", "GRAMMAR_FAILED", sequence.failure, grammar_field)
    return RequestError("ENGINE", "DECODE_FAILED", "llama.cpp could not compute this request's tokens")
