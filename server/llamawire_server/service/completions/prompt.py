"""A request for completions as a worker takes it: a generation a prompt."""

from __future__ import annotations

import time
from collections.abc import Callable

from llamawire.v1 import completion_pb2
from llamawire_server.config import SamplingDefaults
from llamawire_server.service.completions.validation import num_generated
from llamawire_server.service.prompt import build_grammar, build_sampling
from llamawire_server.worker.messages import Generate, RawPrompt


def build_generates(
    request: completion_pb2.CompletionRequest,
    next_request_id: Callable[[], int],
    defaults: SamplingDefaults,
    deadline: float | None = None,
) -> list[Generate]:
    """The request's prompts, with every absent field at the model's default.

    deadline: the caller's, by time.monotonic. Each prompt is answered as if it were the only one; without a seed each
    has one of its own.
    """
    arrived, arrived_at = time.monotonic(), time.time()
    num_top_logprobs = request.logprobs if request.HasField("logprobs") else None
    scores_prompt = request.echo and num_top_logprobs is not None
    if num_generated(request) > (request.n or 1) and num_top_logprobs is None:
        num_top_logprobs = 0  # the best are told by them
    return [
        Generate(
            request_id=next_request_id(),
            arrived=arrived,
            arrived_at=arrived_at,
            prompt=_prompt(request, prompt, f"prompt[{index}]"),
            sampling=build_sampling(request, defaults),
            max_tokens=request.max_tokens if request.HasField("max_tokens") else defaults.max_tokens,
            is_max_tokens_explicit=request.HasField("max_tokens"),
            num_choices=num_generated(request),
            stops=list(request.stop),
            stop_token_ids=list(request.stop_token_ids),
            priority=request.priority,
            deadline=deadline,
            prediction=request.prediction.content,
            grammar=build_grammar(request.response_format),
            num_top_logprobs=num_top_logprobs,
            echo=request.echo,
            scores_prompt=scores_prompt,
            counts_tokens=request.continuous_usage,
        )
        for index, prompt in enumerate(request.prompt)
    ]


def _prompt(
    request: completion_pb2.CompletionRequest, prompt: completion_pb2.CompletionPrompt, field: str
) -> RawPrompt:
    # Who wants a gap filled sends code, in which the name of a control token is a name.
    parses_special = not request.suffix
    return RawPrompt(
        field=field,
        text=prompt.text,
        tokens=list(prompt.tokens.tokens) if prompt.WhichOneof("prompt") == "tokens" else None,
        suffix=request.suffix,
        add_special=request.add_special if request.HasField("add_special") else True,
        parse_special=request.parse_special if request.HasField("parse_special") else parses_special,
    )
