"""The gRPC server: services, health, reflection, and the options that keep connections alive."""

from __future__ import annotations

import grpc.aio
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from llamawire.v1 import (
    chat_pb2,
    chat_pb2_grpc,
    completion_pb2,
    completion_pb2_grpc,
    embedding_pb2,
    embedding_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    tokenizer_pb2,
    tokenizer_pb2_grpc,
)
from llamawire_server.rpc.calls import CallInterceptor
from llamawire_server.rpc.health import HealthBoard
from llamawire_server.rpc.servicers import (
    ChatServicer,
    CompletionServicer,
    EmbeddingServicer,
    ModelServicer,
    TokenizerServicer,
)
from llamawire_server.service.interface import Service

SERVICE_NAMES = tuple(
    module.DESCRIPTOR.services_by_name[name].full_name
    for module, name in (
        (chat_pb2, "ChatService"),
        (completion_pb2, "CompletionService"),
        (embedding_pb2, "EmbeddingService"),
        (model_pb2, "ModelService"),
        (tokenizer_pb2, "TokenizerService"),
    )
)


def create_server(service: Service, board: HealthBoard, max_message_bytes: int) -> grpc.aio.Server:
    """A server with everything registered; ports are the caller's."""
    server = grpc.aio.server(
        interceptors=[CallInterceptor(max_message_bytes)], options=_options(max_message_bytes)
    )
    chat_pb2_grpc.add_ChatServiceServicer_to_server(ChatServicer(service), server)
    completion_pb2_grpc.add_CompletionServiceServicer_to_server(CompletionServicer(service), server)
    embedding_pb2_grpc.add_EmbeddingServiceServicer_to_server(EmbeddingServicer(service), server)
    model_pb2_grpc.add_ModelServiceServicer_to_server(ModelServicer(service), server)
    tokenizer_pb2_grpc.add_TokenizerServiceServicer_to_server(TokenizerServicer(service), server)
    board.attach(server)
    reflection.enable_server_reflection(
        [*SERVICE_NAMES, health.SERVICE_NAME, reflection.SERVICE_NAME], server
    )
    return server


def _options(max_message_bytes: int) -> list[tuple[str, int]]:
    return [
        # The limit proper is the interceptor's, which can say why; this one only bounds memory.
        ("grpc.max_receive_message_length", 2 * max_message_bytes),
        ("grpc.max_send_message_length", -1),
        # gRPC's default answers a client that pings every 30 s with GOAWAY; the client then silently sends the
        # request again, and it is answered twice. Clients ping every 10 s at most, and two pings that a network
        # held up come closer together than that.
        ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # A caller whose machine has vanished is noticed without its saying so.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # Two servers on one port would share its callers by chance.
        ("grpc.so_reuseport", 0),
    ]
