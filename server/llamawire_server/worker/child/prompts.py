"""Conversations and texts to tokens, and what is said where they can't be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from llamawire_server.chat.template import ChatTemplate, TemplateError
from llamawire_server.chat.tools import ToolFormat
from llamawire_server.worker.messages import ChatPrompt, Failed, RawPrompt


class Vocabulary(Protocol):
    """The tokenizer, as far as requests need it."""

    @property
    def bos_text(self) -> str: ...

    @property
    def longest_piece_bytes(self) -> int: ...

    @property
    def infill_tokens(self) -> tuple[int, int, int] | None: ...

    def tokenize(
        self, text: str, *, add_special: bool, parse_special: bool, limit: int | None = None
    ) -> list[int]: ...

    def piece(self, token: int) -> bytes: ...

    def named_piece(self, token: int) -> bytes: ...

    def marked_pieces(self, markers: Sequence[str]) -> dict[int, bytes]: ...


class RequestError(Exception):
    """A request that can't be answered; `condition` names a `Condition` of the error table."""

    def __init__(
        self,
        condition: str,
        reason: str,
        message: str,
        field: str = "",
        retry_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.condition = condition
        self.reason = reason
        self.field = field
        self.retry_seconds = retry_seconds

    def event(self, request_id: int) -> Failed:
        """The error as the request's last event."""
        return Failed(request_id, self.condition, self.reason, str(self), self.field, self.retry_seconds)


@dataclass(frozen=True)
class Prompt:
    """What a model is to go on from."""

    text: str
    """As the model reads it, for what reads on from there; of a raw prompt it is of no use to anybody."""

    tokens: list[int]


class PromptBuilder:
    """Conversations and texts to tokens.

    It works between two steps, so it gives up early on what is far too long: everybody waits for it.
    """

    # So many contexts are counted to the end, for an error that says both lengths.
    _COUNTED_CONTEXTS = 4
    # English has about four bytes a token; only what is far longer is looked at more closely.
    _USUAL_TOKEN_BYTES = 16

    def __init__(
        self,
        vocabulary: Vocabulary,
        template: ChatTemplate | None,
        context_length: int,
        tool_format: ToolFormat | None = None,
    ) -> None:
        """tool_format: how the template is told of tools; None: as the caller has it."""
        self._vocabulary = vocabulary
        self._template = template
        self._context_length = context_length
        self._format = tool_format

    def build(self, prompt: ChatPrompt, now: float) -> list[int]:
        """The prompt's tokens; `now` and errors are those of `render` and `tokenize`."""
        return self.tokenize(self.render(prompt, now))

    def prepare(self, prompt: ChatPrompt | RawPrompt, now: float) -> Prompt:
        """Either kind of prompt. now and errors are those of `render` and `tokenize`, and those of `raw_tokens`."""
        if isinstance(prompt, RawPrompt):
            return Prompt("", self.raw_tokens(prompt))
        text = self.render(prompt, now)
        return Prompt(text, self.tokenize(text))

    def raw_tokens(self, prompt: RawPrompt) -> list[int]:
        """A raw prompt's tokens, with what comes after the gap where it has a suffix.

        Raises RequestError where there are none, where the context can't hold them whatever the tokenizer makes of
        the text, and for a suffix where the vocabulary can't mark a gap (UNSUPPORTED).
        """
        tokens = self._infill(prompt) if prompt.suffix else self._given(prompt, prompt.add_special)
        if not tokens:
            message = "comes to no tokens, and the model adds none of its own"
            raise RequestError("INVALID", "EMPTY_PROMPT", message, prompt.field)
        return tokens

    def _given(self, prompt: RawPrompt, add_special: bool) -> list[int]:
        if prompt.tokens is not None:
            return prompt.tokens
        return self.tokenize(
            prompt.text, prompt.field, add_special=add_special, parse_special=prompt.parse_special
        )

    def _infill(self, prompt: RawPrompt) -> list[int]:
        """The prompt, the gap and the suffix, in the order that llama.cpp's own server has them in."""
        marks = self._vocabulary.infill_tokens
        if marks is None:
            message = "the model's vocabulary has no tokens that mark a gap, so it can't fill one"
            raise RequestError("UNSUPPORTED", "NO_INFILL", message, "suffix")
        before, after, gap = marks
        begin = self._vocabulary.tokenize("", add_special=prompt.add_special, parse_special=False)
        rest = self.tokenize(prompt.suffix, "suffix", add_special=False, parse_special=False)
        return [*begin, before, *self._given(prompt, False), after, *rest, gap]

    def render(self, prompt: ChatPrompt, now: float, *, add_generation_prompt: bool = True) -> str:
        """The conversation as the model is to read it. now: what the template takes for it, in seconds since 1970.
        add_generation_prompt: whether it ends where the assistant is to speak.

        Raises RequestError where the template does not take the conversation, and where it has more messages than the
        context has tokens.
        """
        if self._template is None:
            raise RequestError(
                "UNSUPPORTED",
                "NO_CHAT_TEMPLATE",
                "the model has no chat template; give it one with `chat_template` in models.yaml",
                "messages",
            )
        if len(prompt.messages) > self._context_length:
            raise self._too_long(len(prompt.messages), prompt.field)
        messages, tools = prompt.messages, prompt.tools
        if self._format is not None:
            messages, tools = self._format.prepare(messages, tools)
        try:
            return self._template.render(
                messages,
                tools=tools,
                variables=prompt.variables,
                now=now,
                add_generation_prompt=add_generation_prompt,
            )
        except TemplateError as error:
            raise RequestError("INVALID", "CHAT_TEMPLATE_REFUSED", str(error), "messages") from error

    def tokenize(
        self, text: str, field: str = "messages", *, add_special: bool = True, parse_special: bool = True
    ) -> list[int]:
        """A text's tokens, of a rendered prompt unless told otherwise. field: what of the request it comes from.

        add_special: whether to add the tokens that the model wants around a text, but for a begin-of-sequence token
        that is there. parse_special: whether names of control tokens become those tokens. Raises RequestError where
        the text is so long that the context can't hold it whatever the tokenizer makes of it.
        """
        if len(text) > self._context_length * self._USUAL_TOKEN_BYTES:
            fewest = len(text.encode("utf-8", "replace")) // self._vocabulary.longest_piece_bytes
            if fewest > self._context_length:
                raise self._too_long(fewest, field)
        bos = self._vocabulary.bos_text
        # Many templates write the begin-of-sequence token themselves; twice would be one too many.
        has_bos = bool(bos) and parse_special and text.startswith(bos)
        limit = self._COUNTED_CONTEXTS * self._context_length
        tokens = self._vocabulary.tokenize(
            text, add_special=add_special and not has_bos, parse_special=parse_special, limit=limit
        )
        if len(tokens) > limit:
            raise self._too_long(len(tokens), field)
        return tokens

    def _too_long(self, fewest_tokens: int, field: str) -> RequestError:
        return RequestError(
            "INVALID",
            "CONTEXT_LENGTH_EXCEEDED",
            f"the prompt has {fewest_tokens} tokens at least; the model's context has {self._context_length}",
            field,
        )
