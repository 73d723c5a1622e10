"""Models in words, for a terminal and for files."""

from __future__ import annotations

from llamawire.v1 import model_pb2


def describe_state(model: model_pb2.Model) -> str:
    """Where a model stands: "ready", or "loading 25%"."""
    if model.state not in model_pb2.ModelState.values():
        return str(model.state)  # a newer server's
    state = model_pb2.ModelState.Name(model.state).removeprefix("MODEL_STATE_").lower()
    return f"{state} {model.load_progress:.0%}" if model.state == model_pb2.MODEL_STATE_LOADING else state


def describe_size(num_bytes: int) -> str:
    """A number of bytes, such as "98.0 MB"; nothing where it is not known."""
    from rich import (
        filesize,
    )  # imported here because it takes longer than everything else that the command does

    return filesize.decimal(num_bytes) if num_bytes else ""


def describe_memory(model: model_pb2.Model) -> str:
    """What a model takes of the memory budget, "~" before what is estimated; nothing where it is not known."""
    size = describe_size(model.facts.memory_bytes)
    return f"~{size}" if size and model.state != model_pb2.MODEL_STATE_READY else size


def describe_detail(model: model_pb2.Model) -> str:
    """What else there is to say about where a model stands; often nothing."""
    return ", ".join([*(["pinned"] if model.pinned else []), *([model.detail] if model.detail else [])])


def describe_troubles(model: model_pb2.Model) -> list[str]:
    """What is wrong with a model, in sentences that name it."""
    troubles = []
    if model.failure:
        troubles.append(f"{model.name} failed: {model.failure}")
    if model.problem:
        troubles.append(f"{model.name} has a wrong entry: {model.problem}")
    return troubles


def describe_loaded(model: model_pb2.Model) -> str:
    """What a loaded model is, in one line."""
    facts = model.facts
    named = {
        "architecture": facts.architecture,
        "parameters": _describe_count(facts.num_parameters),
        "quantization": facts.quantization,
        "context": str(facts.context_length or ""),
        "vocabulary": str(facts.vocabulary_size or ""),
        "template": "yes" if facts.has_chat_template else "no",
        "capabilities": "+".join(_describe_capability(number) for number in facts.capabilities),
        "memory": describe_size(facts.memory_bytes),
    }
    known = ", ".join(f"{name} {value}" for name, value in named.items() if value)
    return f"{model.name} {describe_state(model)}: {known}"


def describe_change(model: model_pb2.Model) -> str:
    """How a model stands, in one line."""
    parts = [f"{model.name} {describe_state(model)}"]
    if model.active_requests:
        parts.append(f"{model.active_requests} request{'s' if model.active_requests != 1 else ''}")
    if memory := describe_memory(model):
        parts.append(memory)
    if detail := describe_detail(model):
        parts.append(detail)
    return "; ".join([", ".join(parts), *(trouble for trouble in (model.failure, model.problem) if trouble)])


def _describe_count(number: int) -> str:
    for unit, size in (("B", 10**9), ("M", 10**6)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return str(number or "")


def _describe_capability(number: int) -> str:
    if number not in model_pb2.ModelCapability.values():
        return str(number)  # a newer server's
    return model_pb2.ModelCapability.Name(number).removeprefix("MODEL_CAPABILITY_").lower()  # type: ignore[arg-type]
