"""What the server and a worker say to each other, as msgspec types.

Generated text crosses once a step for all sequences together, not once a token.
"""

from __future__ import annotations

from typing import Any

import msgspec

from llamawire_server.chat.grammar import Grammar
from llamawire_server.chat.tools import CallDelta
from llamawire_server.config import ModelSettings
from llamawire_server.engine.logprobs import TokenLogprobs
from llamawire_server.engine.sequence import SamplingParameters
from llamawire_server.worker.embedding_messages import Embed, Vectors
from llamawire_server.worker.progress import Progress
from llamawire_server.worker.token_counts import ChoiceCounts, PromptCounts


class ChatPrompt(msgspec.Struct, frozen=True, tag=True):
    """A conversation, for the model's chat template."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] = []
    """Those that the model may know of, in OpenAI's form; none where none may be called."""
    variables: dict[str, Any] = {}

    @property
    def field(self) -> str:
        """The request's field that it comes from."""
        return "messages"


class RawPrompt(msgspec.Struct, frozen=True, tag=True):
    """A text, or tokens, to go on from as they are."""

    field: str
    """The request's field that it comes from, such as `prompt[2]`."""
    text: str = ""
    tokens: list[int] | None = None
    """Taken in place of the text, and nothing is added to them."""
    suffix: str = ""
    """What comes after what is to be generated; empty: nothing that is known."""
    add_special: bool = True
    """Whether to add the tokens that the model wants around a text."""
    parse_special: bool = True
    """Whether names of control tokens in the text become those tokens."""


# From the server to the worker.


class Generate(msgspec.Struct, frozen=True, tag=True):
    """Answer a conversation, or go on from a text, with `num_choices` choices."""

    request_id: int
    arrived: float
    """When it was sent, by time.monotonic, whose clock all processes share."""

    arrived_at: float
    """The same by the calendar, in seconds since 1970: what a template takes for now."""

    prompt: ChatPrompt | RawPrompt
    sampling: SamplingParameters
    max_tokens: int
    """With 0 the prompt is computed, and nothing generated."""
    is_max_tokens_explicit: bool
    """An explicit limit that does not fit is the caller's mistake; a default is cut to what fits."""
    num_choices: int
    stops: list[str]
    stop_token_ids: list[int]
    priority: int = 0
    """Lower goes first; one step is worth ten seconds of waiting."""

    deadline: float | None = None
    """When its caller stops waiting, by time.monotonic; None: never."""

    prediction: str = ""
    """What the caller believes the answer will mostly be."""

    tool_choice: str = "none"
    """Which of the prompt's tools may or must be called: "none", "auto", "required" or "function:NAME"."""

    parallel_tool_calls: bool = True
    """Whether one answer may hold several calls."""

    grammar: Grammar | None = None
    """What the answer's text must follow; None: it may be any."""

    num_top_logprobs: int | None = None
    """How many of the likeliest tokens to list for each token of the text; None: no log probabilities are wanted."""

    reasoning_budget: int | None = None
    """The most tokens of reasoning; None: there is no limit."""

    echo: bool = False
    """Whether each choice begins with the prompt, which is to be a raw one."""

    scores_prompt: bool = False
    """Whether the echo says how likely the prompt's tokens were, with `num_top_logprobs` others each."""

    counts_tokens: bool = False
    """Whether what comes says how many tokens there are by then, as its caller wants to know on the way."""

    progress: Progress | None = None
    """Where it goes on; None for a request that no worker has let line up yet."""


class Cancel(msgspec.Struct, frozen=True, tag=True):
    """Nobody waits for this request any more."""

    request_id: int


class Tokenize(msgspec.Struct, frozen=True, tag=True):
    """Turn text into tokens; answered by `Tokens`."""

    request_id: int
    text: str
    add_special: bool
    parse_special: bool
    unparse_special: bool = False
    """Whether the pieces of control tokens are their names."""

    parts: list[str | list[int]] = []
    """Texts and tokens that follow each other, in the place of `text`."""


class Detokenize(msgspec.Struct, frozen=True, tag=True):
    """Turn tokens into text; answered by `Text`."""

    request_id: int
    tokens: list[int]
    unparse_special: bool


class CountTokens(msgspec.Struct, frozen=True, tag=True):
    """Measure a conversation's prompt; answered by `TokenCount`."""

    request_id: int
    arrived_at: float
    """As that of `Generate`."""
    prompt: ChatPrompt


class RenderPrompt(msgspec.Struct, frozen=True, tag=True):
    """Show a conversation's prompt; answered by `RenderedPrompt`."""

    request_id: int
    arrived_at: float
    """As that of `Generate`."""
    prompt: ChatPrompt
    add_generation_prompt: bool = True
    """Whether it ends where the assistant is to speak."""


Request = Generate | Cancel | Tokenize | Detokenize | CountTokens | RenderPrompt | Embed


# From the worker to the server.


class Loading(msgspec.Struct, frozen=True, tag=True):
    """How much of the model is loaded, in [0, 1]."""

    share: float


class Loaded(msgspec.Struct, frozen=True, tag=True):
    """The model answers from now on."""

    num_parameters: int
    training_context_length: int
    context_length: int
    vocabulary_size: int
    parallel: int
    kv_cache_tokens: int
    memory_bytes: int
    """What the worker has in memory: weights, KV cache, and the process's own."""

    token_seconds: float
    """How long it computes a token by itself."""

    has_chat_template: bool

    embedding_length: int = 0
    """How many numbers a vector of a text has; 0 where the model gives none."""

    whole_input_tokens: int = 0
    """The most tokens that it has to compute in one step, where it is an encoder; 0: its steps are as short as they
    should be."""


class LoadFailed(msgspec.Struct, frozen=True, tag=True):
    """The model could not be loaded; the worker ends."""

    message: str


class Taken(msgspec.Struct, frozen=True, tag=True):
    """A request waits in the worker's line, and nothing is being done for it.

    Its prompt is made; or it is not looked at yet, and `Opened` comes before it is.
    """

    request_id: int


class Opened(msgspec.Struct, frozen=True, tag=True):
    """A request that was taken before its prompt was made is looked at now."""

    request_id: int


class Started(msgspec.Struct, frozen=True, tag=True):
    """The next step is the first to compute some of a request. `at`: when, by time.monotonic."""

    request_id: int
    at: float


class Logprob(msgspec.Struct, frozen=True, array_like=True):
    """How likely a token of the text was, and what else might have come. Natural logarithms, maybe minus infinity."""

    logprob: float
    piece: bytes
    """The token's bytes."""

    top: list[tuple[float, bytes]] = []
    """The likeliest tokens of its place, likeliest first; of a control token the name."""


class Echo(msgspec.Struct, frozen=True, array_like=True):
    """A prompt, as what a choice says begins with it."""

    text: str
    first_token: bytes | None = None
    """The bytes of its first token, which has no log probability; None where none are wanted."""
    logprobs: list[Logprob] = []
    """Of the tokens after it."""


class TextDelta(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """More of one choice, and its end where `finish_reason` is set."""

    request_id: int
    index: int
    text: str
    """May be empty: what may still become a stop string or a character is held back."""

    tokens: list[int]
    """What was generated, the token that ended the choice included."""

    finish_reason: str = ""
    """OpenAI's name of it: "stop", "length" or "tool_calls"."""

    reasoning: str = ""
    calls: list[CallDelta] = []
    logprobs: list[Logprob] = []
    """Of the tokens whose text has come with this delta or before it."""
    matched_stop: str = ""
    """The stop string that ended the choice; empty where none did."""

    echo: Echo | None = None
    """On the first delta of a choice where the request asks for it: it comes before all text."""

    held: list[TokenLogprobs] = []
    """Of the last tokens so far, whose text is still held back: for whoever goes on with the request."""

    counts: ChoiceCounts | None = None
    """As they stand, where the request counts tokens."""

    prompt_counts: PromptCounts | None = None
    """Beside them on the first delta of a choice."""

    @property
    def has_news(self) -> bool:
        """Whether there is anything in it for the caller: tokens are for whoever goes on with the request."""
        has_text = bool(self.text or self.reasoning or self.calls or self.echo)
        return has_text or bool(self.finish_reason or self.logprobs or self.counts)


class Completed(msgspec.Struct, frozen=True, tag=True):
    """A request's last event, after the end of every choice: what it cost. Times are in seconds."""

    request_id: int
    num_prompt_tokens: int
    num_cached_tokens: int
    num_completion_tokens: int
    queue_seconds: float
    prompt_seconds: float
    generation_seconds: float
    num_accepted_prediction_tokens: int = 0
    """Tokens of the caller's prediction that became part of the answer, over all choices."""
    num_rejected_prediction_tokens: int = 0
    """Tokens of it that did not, over all choices."""
    num_accepted_draft_tokens: int = 0
    """Tokens guessed in any way, the prediction's included, that became part of the answer."""
    num_rejected_draft_tokens: int = 0
    """Tokens guessed in any way that did not."""
    num_reasoning_tokens: int = 0
    """Tokens spent on reasoning, over all choices."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """A request's last event where it failed. `condition` names a `Condition`, `field` the request's field."""

    request_id: int
    condition: str
    reason: str
    message: str
    field: str = ""
    retry_seconds: float | None = None
    """When it may go better; None: what the condition says of it."""


class Tokens(msgspec.Struct, frozen=True, tag=True):
    """The answer to `Tokenize`."""

    request_id: int
    tokens: list[int]
    pieces: list[bytes]


class Text(msgspec.Struct, frozen=True, tag=True):
    """The answer to `Detokenize`."""

    request_id: int
    text: str


class TokenCount(msgspec.Struct, frozen=True, tag=True):
    """The answer to `CountTokens`."""

    request_id: int
    num_prompt_tokens: int
    context_length: int


class RenderedPrompt(msgspec.Struct, frozen=True, tag=True):
    """The answer to `RenderPrompt`."""

    request_id: int
    text: str
    tokens: list[int]
    """What is computed: those of the text, and what the model wants before them."""


Event = (
    Taken
    | Opened
    | Started
    | TextDelta
    | Completed
    | Failed
    | Tokens
    | Text
    | TokenCount
    | RenderedPrompt
    | Vectors
)


class Events(msgspec.Struct, frozen=True, tag=True):
    """All that one step brought, for all requests. Without events it is a sign of life."""

    events: list[Event]


class Memory(msgspec.Struct, frozen=True, tag=True):
    """What the worker has in memory by now: buffers take up room as they are used."""

    memory_bytes: int


Report = Loading | Loaded | LoadFailed | Events | Memory


class WorkerSetup(msgspec.Struct, frozen=True):
    """What a worker is started with: the first message it reads."""

    path: str
    settings: ModelSettings
    chat_template: str | None
    """The template's text where the model's entry or file has one."""
