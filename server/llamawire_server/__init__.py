"""llamawire's server: local GGUF models over gRPC, with OpenAI's HTTP API beside it."""

from __future__ import annotations

__version__ = "0.1.0"
