"""A caller whose library pings the server while nothing is said is not sent away."""

from __future__ import annotations

import threading
import time

import grpc
from servers import RunningServer, ask

from llamawire.v1 import chat_pb2_grpc

NUM_SEQUENCES = 8
PING_MS = 1_100
# Of the third ping without data, gRPC's servers make a GOAWAY where they are not told otherwise.
SILENCE_SECONDS = 5.0


def test_a_caller_in_line_lives_on_while_its_library_pings(server: RunningServer) -> None:
    story = ask("Write a very long story about a fox.", max_tokens=4000, stop=["\x00"])
    running = [server.chat.StreamChatCompletion(story) for _ in range(NUM_SEQUENCES)]
    for call in running:
        next(iter(call))
    options = [
        ("grpc.keepalive_time_ms", PING_MS),
        ("grpc.keepalive_timeout_ms", 30_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # A call that is sent away would be sent again, and nobody would see it.
        ("grpc.enable_retries", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    states: list[grpc.ChannelConnectivity] = []
    is_ready = threading.Event()

    def note(state: grpc.ChannelConnectivity) -> None:
        states.append(state)
        if state is grpc.ChannelConnectivity.READY:
            is_ready.set()

    with grpc.insecure_channel(server.grpc_address, options=options) as channel:
        channel.subscribe(note, try_to_connect=True)
        assert is_ready.wait(60)
        waiting = chat_pb2_grpc.ChatServiceStub(channel).StreamChatCompletion(ask("Say hi.", max_tokens=2))
        time.sleep(SILENCE_SECONDS)
        assert waiting.is_active(), waiting.details()
        for call in running:
            call.cancel()
        chunks = list(waiting)
        assert chunks[-1].usage.completion_tokens == 2
        assert states[-1] is grpc.ChannelConnectivity.READY
        assert states.count(grpc.ChannelConnectivity.READY) == 1, "the connection has been one and the same"
        channel.unsubscribe(note)
