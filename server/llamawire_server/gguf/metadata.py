"""What a GGUF file says about its model, read from its header without loading it.

The `gguf` package on PyPI is not used: it takes seconds, as it makes a numpy array of every token of the
vocabulary, and it trusts what the file says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llamawire_server.gguf.header import Header, read_header
from llamawire_server.gguf.reader import GGUFError
from llamawire_server.gguf.shape import ModelShape, read_shape
from llamawire_server.gguf.split_files import parse_split_name, part_path
from llamawire_server.gguf.types import FILE_TYPE_GUESSED, FILE_TYPES

__all__ = ["GGUFError", "GGUFMetadata", "read_gguf"]

# Those whose tokens see each other, though their files don't say so.
_ENCODERS = frozenset({"dream", "gemma-embedding", "llada", "llada-moe", "rnd1", "t5encoder"})


@dataclass(frozen=True)
class GGUFMetadata:
    """What a GGUF file says about its model. The files of a split model count as one."""

    path: Path
    """The file; the first one of a split model."""

    kind: str
    """What the file holds (general.type): "model", or such as "mmproj", "adapter", "imatrix"."""

    architecture: str
    """Such as "llama" or "qwen3"."""

    display_name: str
    """The file's own name for the model (general.name). Empty where it has none."""

    quantization: str
    """Such as "Q4_K_M". Where the file doesn't say, the type of most of its weights; empty if that is unknown."""

    num_parameters: int
    file_size_bytes: int

    training_context_length: int
    """The most tokens that the model was trained on. 0 where the file doesn't say."""

    vocabulary_size: int
    """Number of tokens in its vocabulary. 0 where it has none."""

    chat_template: str | None
    """The Jinja template that conversations are written with."""

    modified_ns: int
    """When the file was last changed, in nanoseconds since 1970."""

    weights_bytes: int = 0
    """What the weights take in the file, and in memory."""

    shape: ModelShape = field(default_factory=ModelShape)

    is_encoder: bool = False
    """Whether each token sees those that follow it: such a model embeds texts, and can't generate."""

    pooling_type: int | None = None
    """What of its tokens makes a text's vector, by llama.h's enum llama_pooling_type. None: the file doesn't say."""

    @property
    def has_chat_template(self) -> bool:
        """Whether the file has a chat template of its own."""
        return self.chat_template is not None


def read_gguf(path: Path) -> GGUFMetadata:
    """Read the header of a GGUF file, and of the other parts where it is the first one of a split model.

    Raises `GGUFError`, and nothing else, where the file can't be read, is not a little-endian GGUF file of
    version 2 or 3, contradicts itself, or ends before its weights do.
    """
    first = read_header(path)
    parts = [first, *_read_other_parts(first)]
    architecture = first.text("general.architecture")
    if not architecture:
        raise GGUFError(path, "has no general.architecture")
    return GGUFMetadata(
        path=path,
        # Projectors that older converters wrote don't name their type.
        kind=first.text("general.type").lower() or ("mmproj" if architecture == "clip" else "model"),
        architecture=architecture,
        display_name=first.text("general.name").strip(),
        quantization=_quantization(parts),
        num_parameters=sum(part.num_elements for part in parts),
        file_size_bytes=sum(part.size_bytes for part in parts),
        training_context_length=first.count(f"{architecture}.context_length"),
        vocabulary_size=first.count("tokenizer.ggml.tokens") or first.count(f"{architecture}.vocab_size"),
        chat_template=first.text("tokenizer.chat_template") or None,
        modified_ns=max(part.modified_ns for part in parts),
        weights_bytes=sum(part.data_bytes for part in parts),
        shape=read_shape(parts, architecture),
        is_encoder=architecture in _ENCODERS or not first.size(f"{architecture}.attention.causal", 1),
        pooling_type=_number(first, f"{architecture}.pooling_type"),
    )


def _number(header: Header, key: str) -> int | None:
    """A number; None where there is none."""
    numbers = header.sizes(key)
    return numbers[0] if numbers else None


def _read_other_parts(first: Header) -> list[Header]:
    count = first.count("split.count")
    if count <= 1:
        return []
    number = first.count("split.no") + 1
    if number != 1:
        raise GGUFError(
            first.path, f"is part {number} of {count} of a split model; its first part stands for it"
        )
    name = parse_split_name(first.path)
    if name is None or (name.part, name.num_parts) != (1, count):
        raise GGUFError(
            first.path, f"is the first of {count} parts, so its name must end in -00001-of-{count:05}.gguf"
        )
    parts = []
    for part in range(2, count + 1):
        try:
            parts.append(read_header(part_path(first.path, part)))
        except GGUFError as error:
            raise GGUFError(first.path, f"part {part} of {count}: {error}") from None
    return parts


def _quantization(parts: Sequence[Header]) -> str:
    if "general.file_type" in parts[0].values:
        file_type = parts[0].count("general.file_type") & ~FILE_TYPE_GUESSED
        if file_type in FILE_TYPES:
            return FILE_TYPES[file_type]
    type_bytes: Counter[str] = Counter()
    for part in parts:
        type_bytes.update(part.type_bytes)
    return max(type_bytes, key=type_bytes.__getitem__, default="")
