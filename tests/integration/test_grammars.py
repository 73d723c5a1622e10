"""Constrained sequences on the real model, in process: no server is needed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from tool_formats import FORMATS, TAGGED, read

from llamawire_server.chat.grammar import Grammar, to_lark
from llamawire_server.chat.tools import Named, Tool
from llamawire_server.config import ModelSettings
from llamawire_server.engine.drafting.prompt_lookup import PromptLookup
from llamawire_server.engine.engine import Engine
from llamawire_server.engine.runner.grammar_vocabulary import read_vocabulary
from llamawire_server.engine.runner.grammars import Grammars
from llamawire_server.engine.runner.model import EngineLog, LoadedModel
from llamawire_server.engine.runner.runner import LlamaRunner
from llamawire_server.engine.sequence import FinishReason, SamplingParameters, Sequence
from llamawire_server.grammar_errors import GrammarError

SAMPLING = SamplingParameters(
    temperature=0,
    top_p=1.0,
    top_k=0,
    min_p=0.0,
    frequency_penalty=0.0,
    presence_penalty=0.0,
    repeat_penalty=1.0,
    seed=3,
    logit_bias={},
)
HOT = structs.replace(SAMPLING, temperature=1.5)
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["old", "new"]}, "minItems": 1, "maxItems": 3},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
QUESTION = "<|im_start|>user\nDescribe a person as JSON.<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def runner(model_file: Path) -> Iterator[LlamaRunner]:
    settings = ModelSettings(threads=1, context_length=1024, parallel=4)
    loaded = LoadedModel(model_file, settings, EngineLog(lambda *_: None), lambda _: True)
    made = LlamaRunner(loaded)
    yield made
    made.grammars.close()


@pytest.fixture
def engine(runner: LlamaRunner) -> Engine:
    runner.clear()
    return Engine(runner, keeps_prefixes=False)


def lark(schema: Any) -> str:
    return to_lark(Grammar("json_schema", json.dumps(schema)))


def sequence(
    runner: LlamaRunner,
    grammar: str | None,
    sampling: SamplingParameters = SAMPLING,
    *,
    index: int = 0,
    max_tokens: int = 200,
    num_top_logprobs: int | None = None,
    generated: list[int] | None = None,
) -> Sequence:
    prompt = runner.vocabulary.tokenize(QUESTION, add_special=False, parse_special=True)
    constraint = runner.grammars.compile(grammar) if grammar is not None else None
    for token in generated or []:
        assert constraint is not None
        constraint.accept(token)
    return Sequence(
        1,
        index,
        [*prompt, *(generated or [])],
        len(prompt),
        max_tokens,
        sampling,
        drafter=PromptLookup(),
        constraint=constraint,
        num_top_logprobs=num_top_logprobs,
    )


def finish(engine: Engine, *sequences: Sequence) -> None:
    if sequences:
        engine.add(list(sequences))
    while engine.has_work:
        engine.run(engine.schedule())


def text(runner: LlamaRunner, one: Sequence) -> str:
    tokens = one.tokens[one.num_prompt_tokens :]
    return b"".join(runner.vocabulary.piece(token) for token in tokens).decode()


@pytest.mark.parametrize("sampling", [SAMPLING, HOT, structs.replace(HOT, top_k=40, frequency_penalty=1.0)])
def test_what_comes_is_valid_by_its_schema(
    runner: LlamaRunner, engine: Engine, sampling: SamplingParameters
) -> None:
    choices = [sequence(runner, lark(PERSON), sampling, index=index) for index in range(3)]
    finish(engine, *choices)
    for choice in choices:
        value = json.loads(text(runner, choice))
        assert value.keys() == {"name", "age", "tags"}
        assert 1 <= len(value["name"]) <= 20
        assert 0 <= value["age"] <= 120
        assert value["tags"]
        assert set(value["tags"]) <= {"old", "new"}
        assert choice.finish_reason is FinishReason.STOP
        assert choice.tokens[-1] in runner.end_token_ids


def test_siblings_and_others_go_their_own_ways(runner: LlamaRunner, engine: Engine) -> None:
    grammars = [lark({"type": "integer"}), lark({"enum": ["red", "blue"]}), None]
    choices = [sequence(runner, each, index=index, max_tokens=20) for index, each in enumerate(grammars)]
    finish(engine, *choices)
    together = [text(runner, choice) for choice in choices]
    assert isinstance(json.loads(together[0]), int)
    assert json.loads(together[1]) in ("red", "blue")
    for index, each in enumerate(grammars):
        alone = sequence(runner, each, index=index, max_tokens=20)
        finish(engine, alone)
        assert text(runner, alone) == together[index]


def test_what_is_forced_is_computed_in_few_steps_and_changes_nothing(
    runner: LlamaRunner, engine: Engine
) -> None:
    schema = {
        "type": "object",
        "properties": {f"a rather long name of a member, number {n}": {"enum": [1, 2]} for n in range(3)},
        "required": [f"a rather long name of a member, number {n}" for n in range(3)],
        "additionalProperties": False,
        "x-guidance": {"whitespace_flexible": False},
    }
    grammar = f"start: %json {json.dumps(schema)}"
    quick = sequence(runner, grammar)
    engine.add([quick])
    num_steps = 0
    while engine.has_work:
        engine.run(engine.schedule())
        num_steps += 1
    assert list(json.loads(text(runner, quick))) == schema["required"]
    assert num_steps < quick.num_output_tokens / 3
    slow = sequence(runner, grammar)
    engine.add([slow])
    while engine.has_work:
        step = engine.schedule()
        for piece in step.slices:
            piece.draft, piece.drafted_by = (), None
        engine.run(step)
    assert slow.tokens == quick.tokens


@pytest.mark.parametrize("num_tokens", [1, 7, 20])
def test_an_answer_goes_on_where_it_was(runner: LlamaRunner, engine: Engine, num_tokens: int) -> None:
    whole = sequence(runner, lark(PERSON), HOT)
    finish(engine, whole)
    generated = whole.tokens[whole.num_prompt_tokens :]
    resumed = sequence(runner, lark(PERSON), HOT, generated=generated[:num_tokens])
    finish(engine, resumed)
    assert resumed.tokens == whole.tokens


def test_a_limit_cuts_an_answer(runner: LlamaRunner, engine: Engine) -> None:
    one = sequence(runner, lark(PERSON), max_tokens=5)
    finish(engine, one)
    assert one.finish_reason is FinishReason.LENGTH
    assert one.num_output_tokens == 5


def test_logprobs_are_of_what_the_model_would_say(runner: LlamaRunner, engine: Engine) -> None:
    """Of all tokens, whatever the grammar allows and however many are computed at once."""
    one = sequence(runner, lark(PERSON), num_top_logprobs=5)
    engine.add([one])
    told = []
    while engine.has_work:
        for output in engine.run(engine.schedule()):
            assert len(output.logprobs) == len(output.tokens)
            told += output.logprobs
    assert [each.token for each in told] == one.tokens[one.num_prompt_tokens :]
    for each in told:
        assert each.logprob <= each.top[0][1]
        assert [logprob for _, logprob in each.top] == sorted((value for _, value in each.top), reverse=True)
        assert sum(math.exp(logprob) for _, logprob in each.top) <= 1 + 1e-9
        assert dict(each.top).get(each.token, each.logprob) == each.logprob
    assert any(each.token != each.top[0][0] for each in told), "the grammar had a say"


def test_text_without_a_grammar_is_what_it_was(runner: LlamaRunner, engine: Engine) -> None:
    plain = sequence(runner, None, max_tokens=30)
    finish(engine, plain)
    anything = sequence(runner, r"start: /(.|\n)*/", max_tokens=30)
    finish(engine, anything)
    assert text(runner, anything) == text(runner, plain)


def test_control_tokens_of_the_model_are_known(runner: LlamaRunner) -> None:
    """To grammars and to the vocabulary alike: who writes a grammar asks the latter."""
    for name in ("<|im_start|>", "<|im_end|>", "<|endoftext|>"):
        token = runner.vocabulary.special_token(name)
        assert token is not None
        mask = runner.grammars.compile(f"start: {name}").mask()
        assert mask[token // 32] >> (token % 32) & 1
    for name in ("<", "the", "<|nothing|>"):
        assert runner.vocabulary.special_token(name) is None
        with pytest.raises(GrammarError):
            runner.grammars.compile(f"start: <[{name}]>")


def test_what_a_grammar_takes_for_text_is_what_the_caller_gets(runner: LlamaRunner) -> None:
    """Token by token: a grammar that took one for other bytes would let through what is not valid."""
    vocabulary = runner.vocabulary
    tokenizer = runner.grammars._vocabulary().tokenizer
    assert tokenizer.vocab_size == vocabulary.size
    assert tokenizer.is_canonical
    assert set(tokenizer.eos_tokens) == vocabulary.end_token_ids
    for token in range(vocabulary.size):
        if not tokenizer.is_special_token(token):
            assert tokenizer.decode_bytes([token]) == vocabulary.piece(token)
        else:
            assert vocabulary.piece(token) == b""


def test_the_vocabulary_can_be_read_without_end_tokens(runner: LlamaRunner) -> None:
    handle: Any = runner.vocabulary._vocabulary
    size = runner.vocabulary.size
    grammars = Grammars(lambda: read_vocabulary(handle, size, frozenset()))
    one = grammars.compile('start: "yes"')
    while not one.is_complete:
        mask = one.mask()
        one.accept(next(token for token in range(size) if mask[token // 32] >> (token % 32) & 1))
    assert one.num_tokens >= 1


WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"enum": ["Bern", "New <York>"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("name", [*TAGGED, "kimi", "deepseek v3"])
def test_each_way_of_calling_is_one_that_a_real_model_is_held_to(
    runner: LlamaRunner, engine: Engine, name: str
) -> None:
    """One that was never trained to, in tokens that are not made for it."""
    family = {**FORMATS, **TAGGED}[name]
    tools = [Tool("get_weather", WEATHER), Tool("get", {"type": "object", "properties": {}})]
    grammar = family.lark(tools, Named("get_weather"), False, lambda marker: False)
    one = sequence(runner, grammar, max_tokens=120)
    finish(engine, one)
    answer = read(family, [text(runner, one)], tools)
    assert (one.finish_reason, answer.content, answer.ends_with_call) == (FinishReason.STOP, "", True)
    ((called, arguments),) = answer.named
    value = json.loads(arguments)
    assert (called, list(value)) == ("get_weather", ["city", "days"])
    assert value["city"] in WEATHER["properties"]["city"]["enum"]
    assert 1 <= value["days"] <= 9
