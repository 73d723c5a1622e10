"""A draft model beside a real one: no answer changes, and it guesses where that pays."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import NO_END, RunningServer, ask, failure_of, launch, reason_of

from bench.tiny_model import write_tiny_model as write_model_with_vocabulary
from llamawire.v1 import chat_pb2
from llamawire_server.config import ModelSettings
from llamawire_server.engine.drafting.model import ModelDrafting
from llamawire_server.engine.drafting.step_times import StepTimes
from llamawire_server.engine.engine import Engine
from llamawire_server.engine.runner.draft_model import load_draft_model
from llamawire_server.engine.runner.model import EngineLog, LoadedModel
from llamawire_server.engine.runner.runner import LlamaRunner
from llamawire_server.engine.sequence import SamplingParameters, Sequence

# A model of so many layers takes at least ten times as long as one of a single layer.
NUM_IDLE_LAYERS = 150

CATALOG = """
deep: {{path: {deep}, {common}}}
deep-guessed: {{path: {deep_again}, draft_model: {tiny}, {common}}}
smollm2: {{path: {smollm2}, {common}}}
smollm2-badly-guessed: {{path: {smollm2_again}, draft_model: tiny.gguf, {common}}}
other-vocabulary: {{path: {third}, draft_model: {bytes}, {common}}}
bereft: {{path: {fifth}, draft_model: gone.gguf, {common}}}
nowhere: {{path: {fourth}, draft_model: nowhere.gguf, {common}}}
"""
COMMON = "threads: 1, context_length: 512, parallel: 2, prompt_lookup: false"

# One choice: with more, others fill the cells that rejected guesses leave, and with cells in another order the last
# bits of logits differ.
SEEDED = {"temperature": 1.0, "seed": 7}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, model_file: Path, tiny_model: bytes) -> Path:
    """The models' files, and a catalog."""
    folder = tmp_path_factory.mktemp("draft")
    write_model_with_vocabulary(folder / "tiny.gguf", model_file)
    write_model_with_vocabulary(folder / "deep.gguf", model_file, NUM_IDLE_LAYERS)
    (folder / "bytes.gguf").write_bytes(tiny_model)
    # One file is one model, whatever its names.
    again = {
        "deep_again": "deep.gguf",
        "smollm2_again": model_file,
        "third": "tiny.gguf",
        "fourth": "tiny.gguf",
        "fifth": "deep.gguf",
        "gone": "tiny.gguf",
    }
    for name, source in again.items():
        shutil.copyfile(folder / source, folder / f"{name}.gguf")
    paths = {name: folder / f"{name}.gguf" for name in (*again, "deep", "tiny", "bytes")}
    (folder / "models.yaml").write_text(CATALOG.format(smollm2=model_file, common=COMMON, **paths))
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RunningServer]:
    arguments = ("--models-yaml", str(folder / "models.yaml"))
    with launch(folder / "server.log", folder, *arguments) as running:
        yield running
        assert running.stop() == 0


def answers(server: RunningServer, model: str, **fields: object) -> tuple[list[str], chat_pb2.ChatCompletion]:
    request = ask("Write a story about a fox.", model=model, max_tokens=64, logit_bias=NO_END, **fields)
    completion = server.chat.CreateChatCompletion(request)
    return [choice.message.content for choice in completion.choices], completion


def num_guessed(completion: chat_pb2.ChatCompletion) -> tuple[int, int]:
    """Tokens that were accepted, and rejected."""
    details = completion.usage.completion_tokens_details
    return details.accepted_draft_tokens, details.rejected_draft_tokens


@pytest.mark.parametrize("fields", [{}, SEEDED], ids=["greedy", "seeded"])
def test_a_model_that_is_fast_and_right_guesses_most_of_an_answer(
    server: RunningServer, fields: dict[str, object]
) -> None:
    expected, alone = answers(server, "deep", **fields)
    assert num_guessed(alone) == (0, 0)
    guessed, completion = answers(server, "deep-guessed", **fields)
    assert guessed == expected
    assert completion.usage.completion_tokens == alone.usage.completion_tokens
    if not fields:
        num_accepted, num_rejected = num_guessed(completion)
        assert num_accepted > 20
        assert num_rejected < num_accepted


@pytest.mark.parametrize("fields", [{}, SEEDED], ids=["greedy", "seeded"])
def test_a_model_that_is_wrong_pauses_and_changes_nothing(
    server: RunningServer, fields: dict[str, object]
) -> None:
    expected, _ = answers(server, "smollm2", **fields)
    guessed, completion = answers(server, "smollm2-badly-guessed", **fields)
    assert guessed == expected
    num_accepted, num_rejected = num_guessed(completion)
    assert num_accepted + num_rejected < 64


def test_another_vocabulary_is_an_error_that_names_both_files(server: RunningServer, folder: Path) -> None:
    error = failure_of(lambda: answers(server, "other-vocabulary"))
    assert reason_of(error) == "MODEL_LOAD_FAILED"
    assert f"the draft model {folder / 'bytes.gguf'} can't be used: its vocabulary is not that of" in str(
        error.details()
    )
    assert f"{folder / 'third.gguf'}: 259 tokens, not 49152" in str(error.details())


def test_a_file_that_is_not_there_is_named(server: RunningServer, folder: Path) -> None:
    error = failure_of(lambda: answers(server, "nowhere"))
    assert reason_of(error) == "MODEL_FILE_MISSING"
    assert str(folder / "nowhere.gguf") in str(error.details())


def test_a_worker_that_dies_is_started_again_with_the_draft_model_that_it_had(
    server: RunningServer, folder: Path
) -> None:
    expected, _ = answers(server, "bereft")
    (folder / "gone.gguf").unlink()
    pid = server.worker_of(folder / "fifth.gguf")
    os.kill(pid, signal.SIGKILL)
    again, completion = answers(server, "bereft")
    assert again == expected
    assert num_guessed(completion)[0] > 0
    assert server.worker_of(folder / "fifth.gguf") != pid


def test_a_model_that_is_its_own_draft_is_always_right(
    model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would never pay: so guessing is said to take no time, and a step the same, however much it has."""
    monkeypatch.setattr(StepTimes, "_FURTHER_TOKEN_SHARE", 0.0)
    monkeypatch.setattr(StepTimes, "observe", lambda *_: None)
    engine_log = EngineLog(lambda *_: None)
    loaded = LoadedModel(model_file, ModelSettings(threads=1, context_length=512), engine_log, lambda _: True)
    draft_model = load_draft_model(model_file, loaded, -1, engine_log)
    assert draft_model is not None
    runner = LlamaRunner(loaded, draft_model)

    drafting = ModelDrafting(draft_model, 1e-6, clock=lambda: 0.0)

    def answer(texts: tuple[str, ...], sampling: SamplingParameters, *, guesses: bool) -> list[Sequence]:
        engine = Engine(runner, token_seconds=loaded.token_seconds, draft_model=drafting if guesses else None)
        sequences = []
        for number, text in enumerate(texts):
            tokens = runner.vocabulary.tokenize(text, add_special=True, parse_special=True)
            sequences.append(Sequence(number, 0, tokens, len(tokens), 48, sampling))
            engine.add([sequences[-1]])
        while engine.has_work:
            engine.run(engine.schedule())
        runner.clear()
        return sequences

    texts = ("The capital of France is", "Once upon a time", "Fruits: apples,")
    alone, guessed = (answer(texts, GREEDY, guesses=guesses) for guesses in (False, True))
    assert [one.tokens for one in guessed] == [one.tokens for one in alone]
    for one in guessed:
        assert one.num_accepted_draft_tokens > 24
        assert one.num_rejected_draft_tokens <= 4, "last bits of logits may break a tie otherwise"
    # What is guessed is what is likeliest, which is not what is drawn now and then.
    (alone_sampled,), (sampled,) = (answer(texts[2:], SAMPLED, guesses=guesses) for guesses in (False, True))
    assert sampled.tokens == alone_sampled.tokens
    assert sampled.num_rejected_draft_tokens > 0


def sampling(temperature: float) -> SamplingParameters:
    return SamplingParameters(
        temperature=temperature,
        top_p=1.0,
        top_k=0,
        min_p=0.0,
        frequency_penalty=0.0,
        presence_penalty=0.0,
        repeat_penalty=1.0,
        seed=3,
        logit_bias={},
    )


GREEDY, SAMPLED = sampling(0.0), sampling(1.0)
