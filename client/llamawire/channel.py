"""The connection's settings, the same for sync and asyncio."""

from __future__ import annotations

DEFAULT_TARGET = "127.0.0.1:50051"

# An answer with log probabilities of twenty alternatives a token outgrows gRPC's own 4 MiB.
MAX_MESSAGE_BYTES = 64 * 1024 * 1024

OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # Finds a dead peer while nothing is sent, as during a long prompt. The server permits pings this often.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Retries are `attempts.Attempts`'s: two layers of them would multiply.
    ("grpc.enable_retries", 0),
    # A server that restarts is found again as fast as the retries come.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)
