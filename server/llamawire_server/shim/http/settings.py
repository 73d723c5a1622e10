"""What the HTTP side can be told."""

from __future__ import annotations

from dataclasses import dataclass

from llamawire_server.config import ServerConfig


@dataclass(frozen=True)
class HttpSettings:
    """How requests over HTTP are handled."""

    max_body_bytes: int = ServerConfig.max_message_bytes
    """The largest body of a request."""

    keep_alive_seconds: float = 15.0
    """A stream in which nothing comes for so long gets an event without news, so that nobody takes it for dead."""

    allow_unknown_fields: bool = ServerConfig.allow_unknown_fields
    """Whether fields that neither OpenAI nor llamawire has are ignored, instead of refused."""

    allowed_origins: tuple[str, ...] = ServerConfig.allowed_origins
    """Origins of web pages whose scripts may read answers; `*`: every one."""

    max_kept_responses: int = ServerConfig.max_kept_responses
    """Responses that are kept for others to go on from; 0: none."""

    max_kept_response_bytes: int = ServerConfig.max_kept_response_bytes
    """What they may take up together."""


def http_settings(config: ServerConfig) -> HttpSettings:
    """What the server's configuration says of its HTTP side."""
    return HttpSettings(
        max_body_bytes=config.max_message_bytes,
        allow_unknown_fields=config.allow_unknown_fields,
        allowed_origins=config.allowed_origins,
        max_kept_responses=config.max_kept_responses,
        max_kept_response_bytes=config.max_kept_response_bytes,
    )
