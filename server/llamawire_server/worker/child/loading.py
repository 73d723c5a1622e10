"""Getting a model ready: the file, what computes with it, and what answers requests for it."""

from __future__ import annotations

import logging
from pathlib import Path

from llamawire_server.chat.channels import find_style
from llamawire_server.chat.plan import Planner
from llamawire_server.chat.template import ChatTemplate, TemplateError
from llamawire_server.chat.tools.recognition import find_format
from llamawire_server.engine.budget import StepTargets
from llamawire_server.engine.drafting.model import ModelDrafting
from llamawire_server.engine.engine import Engine
from llamawire_server.engine.runner.draft_model import load_draft_model
from llamawire_server.engine.runner.model import (
    GGML_LOG_LEVEL_ERROR,
    EngineLog,
    LoadedModel,
    ModelLoadError,
)
from llamawire_server.engine.runner.runner import LlamaRunner
from llamawire_server.engine.runner.vocabulary import Vocabulary
from llamawire_server.machine import resident_bytes
from llamawire_server.worker.child.answer_plans import AnswerPlans
from llamawire_server.worker.child.desk import Desk
from llamawire_server.worker.child.embedding_setup import load_encoder, set_up_embeddings
from llamawire_server.worker.child.generations import Generations
from llamawire_server.worker.child.outbox import Outbox
from llamawire_server.worker.child.prompts import PromptBuilder
from llamawire_server.worker.messages import Loaded, Loading, WorkerSetup
from llamawire_server.worker.wire import ConnectionClosedError

log = logging.getLogger("llamawire_server.worker")


def load(setup: WorkerSetup, outbox: Outbox) -> Desk:
    """Load the model, reporting progress and, at its end, the model's facts. Raises ModelLoadError."""
    settings = setup.settings
    engine_log = EngineLog(_log_line)
    loaded = LoadedModel(Path(setup.path), settings, engine_log, LoadProgress(outbox))
    if loaded.is_encoder:
        return load_encoder(loaded, settings, outbox)
    draft_model = load_draft_model(settings.draft_model, loaded, settings.gpu_layers, engine_log)
    runner = LlamaRunner(loaded, draft_model)
    template = _compile_template(setup.chat_template, runner.vocabulary)
    tool_format = find_format(setup.chat_template)
    style = find_style(setup.chat_template, settings.reasoning_format)
    prompts = PromptBuilder(runner.vocabulary, template, runner.limits.context_length, tool_format)
    planner = Planner(style, tool_format, runner.vocabulary.special_token)
    plans = AnswerPlans(planner, runner.grammars, runner.vocabulary)
    targets = StepTargets(shared_seconds=settings.token_interval_seconds)
    engine = Engine(
        runner,
        targets,
        loaded.token_seconds,
        keeps_prefixes=settings.prompt_cache,
        draft_model=ModelDrafting(draft_model, draft_model.token_seconds, targets) if draft_model else None,
    )
    generations = Generations(
        engine,
        runner.limits,
        runner.vocabulary,
        prompts,
        plans,
        max_queued_tokens=settings.max_queued_tokens,
        looks_back=settings.prompt_lookup,
    )
    embeddings = set_up_embeddings(
        loaded, settings, runner.vocabulary, is_shared=lambda: generations.has_work
    )
    memory_bytes = resident_bytes()
    outbox.put(
        Loaded(
            num_parameters=loaded.facts.num_parameters,
            training_context_length=loaded.facts.training_context_length,
            context_length=runner.limits.context_length,
            vocabulary_size=loaded.facts.vocabulary_size,
            parallel=runner.limits.num_slots,
            kv_cache_tokens=runner.limits.kv_cache_tokens,
            memory_bytes=memory_bytes,
            token_seconds=loaded.token_seconds,
            has_chat_template=template is not None,
            embedding_length=embeddings.width,
        )
    )
    return Desk(
        runner.vocabulary,
        prompts,
        generations,
        outbox,
        embeddings=embeddings.work,
        context_length=runner.limits.context_length,
        memory_bytes=memory_bytes,
    )


class LoadProgress:
    """Tells the server how much of the model is loaded."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._reported_share = -1.0

    def __call__(self, share: float) -> bool:
        """False where nobody waits for the model any more."""
        if share - self._reported_share < 0.01 and share < 1:
            return True
        self._reported_share = share
        try:
            self._outbox.put(Loading(share))
        except ConnectionClosedError:
            return False
        return True


def _compile_template(source: str | None, vocabulary: Vocabulary) -> ChatTemplate | None:
    if source is None:
        return None
    try:
        return ChatTemplate(source, bos_token=vocabulary.bos_text, eos_token=vocabulary.eos_text)
    except TemplateError as error:
        raise ModelLoadError(str(error)) from error


def _log_line(level: int, line: str) -> None:
    # llama.cpp warns of much that is as it should be.
    log.log(logging.ERROR if level >= GGML_LOG_LEVEL_ERROR else logging.DEBUG, "%s", line)
