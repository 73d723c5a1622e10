"""The `llamawire` command."""

from __future__ import annotations

import _thread
import io
import json
import signal
import socket
import subprocess
import sys

import grpc
import pytest

from llamawire import RequestCancelledError, assistant, request, system, user
from llamawire.cli import main
from llamawire.client import Chat
from llamawire.terminal import TerminalChat
from llamawire.v1 import chat_pb2, model_pb2

COMMAND = [sys.executable, "-m", "llamawire"]
READY, UNLOADED = model_pb2.MODEL_STATE_READY, model_pb2.MODEL_STATE_UNLOADED


def models(*states, **fields) -> model_pb2.ListModelsResponse:
    return model_pb2.ListModelsResponse(
        models=[
            model_pb2.Model(name=f"m{number}", state=state, **fields) for number, state in enumerate(states)
        ]
    )


@pytest.fixture(autouse=True)
def target(server, monkeypatch):
    monkeypatch.setenv("LLAMAWIRE_TARGET", server.target)


@pytest.fixture
def piped(monkeypatch):
    """Standard input is a file with this text."""

    def pipe(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))

    return pipe


@pytest.fixture
def typed(monkeypatch):
    """Standard input is a terminal where these lines are typed; an exception is what `input` raises instead."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def type_lines(*lines) -> None:
        waiting = iter(lines)

        def read_line(prompt: str) -> str:
            line = next(waiting, EOFError())
            if isinstance(line, BaseException):
                raise line
            return line

        monkeypatch.setattr(sys, "stdin", Terminal())
        monkeypatch.setattr("builtins.input", read_line)

    return type_lines


def test_a_prompt_is_answered(server, capsys, text_chunks):
    server.answers(*text_chunks("Hel", "lo"))

    assert main(["chat", "Say hello.", "--model", "m"]) == 0

    assert capsys.readouterr() == ("Hello\n", "")
    assert server.received[0].request == request(model="m", messages=[user("Say hello.")])


def test_options_go_into_the_request(server, text_chunks):
    server.answers(*text_chunks("Hello"))
    options = "--model m --system brief --temperature 0 --top-p 0.5 --max-tokens 9 --seed 0 --stop a --stop b"

    assert main(["chat", "Say hello.", *options.split()]) == 0

    assert server.received[0].request == request(
        model="m",
        messages=[system("brief"), user("Say hello.")],
        temperature=0,
        top_p=0.5,
        max_tokens=9,
        seed=0,
        stop=["a", "b"],
    )


def test_the_prompt_may_be_piped_in(server, piped, capsys, text_chunks):
    server.answers(*text_chunks("Hello"))
    piped("Say hello.\n")

    assert main(["chat", "--model", "m"]) == 0

    assert server.received[0].request.messages[0] == user("Say hello.")
    assert capsys.readouterr().out == "Hello\n"


def test_a_line_that_is_ended_is_not_ended_again(server, capsys, text_chunks):
    server.answers(*text_chunks("Hello", "\n"))

    main(["chat", "Say hello.", "--model", "m"])

    assert capsys.readouterr().out == "Hello\n"


def test_an_answer_that_was_cut_off_says_so(server, capsys, text_chunks):
    chunks = text_chunks("The capital", " of")
    chunks[-1].choices[0].finish_reason = chat_pb2.FINISH_REASON_LENGTH
    server.answers(*chunks)

    assert main(["chat", "Hm?", "--model", "m"]) == 0

    output = capsys.readouterr()
    assert output.out == "The capital of\n"
    assert output.err == "(cut off after 2 tokens)\n"


def test_the_whole_answer_as_json(server, capsys):
    message = chat_pb2.Message(role=chat_pb2.ROLE_ASSISTANT, content="Hello")
    server.answers(chat_pb2.ChatCompletion(id="chatcmpl-1", choices=[chat_pb2.Choice(message=message)]))

    assert main(["chat", "Say hello.", "--model", "m", "--json"]) == 0

    printed = json.loads(capsys.readouterr().out)
    assert printed["choices"][0]["message"]["content"] == "Hello"


def test_verbose_tells_of_reasoning_and_cost_beside_the_answer(server, capsys, text_chunks):
    first, hello, last = text_chunks("Hello")
    hello.choices[0].delta.reasoning_content = "They greet."
    last.usage.completion_tokens = 11
    server.answers(first, hello, last)

    assert main(["chat", "Say hello.", "--model", "m", "-v"]) == 0

    out, err = capsys.readouterr()
    assert out == "Hello\n"
    assert "They greet." in err
    assert "3 prompt tokens (0 cached), 11 generated (stop)" in err
    assert "20.0 tokens/s" in err


@pytest.mark.parametrize(
    ("states", "expected"), [([UNLOADED], "m0"), ([UNLOADED, READY, READY], "m1"), ([READY], "m0")]
)
def test_a_model_is_found_where_none_is_named(server, text_chunks, states, expected):
    server.answers(models(*states))
    server.answers(*text_chunks("Hello"))

    assert main(["chat", "Say hello."]) == 0

    assert server.received[1].request.model == expected


@pytest.mark.parametrize(
    ("states", "complaint"),
    [([], "the server has no models"), ([UNLOADED, UNLOADED], "name a model with --model: m0, m1")],
)
def test_no_model_is_guessed(server, capsys, states, complaint):
    server.answers(models(*states))

    assert main(["chat", "Say hello."]) == 1

    assert capsys.readouterr() == ("", f"llamawire: {complaint}\n")


def test_an_error_is_one_line(server, capsys, error_info):
    server.fails(grpc.StatusCode.NOT_FOUND, error_info("MODEL_NOT_FOUND"), message="no model is named 'm'")

    assert main(["chat", "Say hello.", "--model", "m"]) == 1

    assert capsys.readouterr() == ("", "llamawire: no model is named 'm'\n")


@pytest.mark.parametrize("arguments", [["--max-tokens", "99999999999"], ["--system", "\udcff"]])
def test_what_no_request_can_hold_is_an_error_too(server, capsys, arguments):
    assert main(["chat", "Say hello.", "--model", "m", *arguments]) == 1

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("llamawire: ")
    assert server.received == []


def test_a_server_that_is_not_there_is_named(capsys):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # taken, and nobody listens
        target = f"127.0.0.1:{nobody.getsockname()[1]}"

        assert main(["models", "list", "--target", target, "--timeout", "0.1"]) == 1

    assert capsys.readouterr().err.startswith(f"llamawire: can't reach a llamawire server at {target}: ")


@pytest.mark.parametrize(
    "arguments", [[], ["chat", "hello", "--temperature", "hot"], ["models"], ["models", "eat"], ["chat"]]
)
def test_a_wrong_command_line(arguments, piped):
    piped("")

    with pytest.raises(SystemExit) as caught:
        main(arguments)

    assert caught.value.code == 2


def test_the_version(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])

    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("llamawire 0.")


def test_a_conversation_remembers(server, typed, capsys, text_chunks):
    server.answers(*text_chunks("Hello, Ann."))
    server.answers(*text_chunks("Ann."))
    typed("I am Ann.", "", "Who am I?", "/exit", "never sent")

    assert main(["chat", "--model", "m", "--system", "brief"]) == 0

    assert capsys.readouterr().out == "Hello, Ann.\nAnn.\n"
    first, second = (list(call.request.messages) for call in server.received)
    assert first == [system("brief"), user("I am Ann.")]
    assert second == [*first, assistant("Hello, Ann."), user("Who am I?")]


def test_a_conversation_can_be_forgotten_and_told_how_to_go_on(server, typed, text_chunks):
    for _ in range(3):
        server.answers(*text_chunks("Yes."))
    typed("one", "/clear", "/system be kind", "two", "/clear", "/system", "three")

    assert main(["chat", "--model", "m"]) == 0

    assert [list(call.request.messages) for call in server.received] == [
        [user("one")],
        [system("be kind"), user("two")],
        [user("three")],
    ]


def test_commands_are_explained(server, typed, capsys):
    typed("/help", "/dance")

    assert main(["chat", "--model", "m"]) == 0

    err = capsys.readouterr().err
    assert err.count("/clear") == 2
    assert "there is no /dance" in err
    assert server.received == []


def test_a_conversation_survives_a_failed_answer(server, typed, capsys, error_info, text_chunks):
    server.fails(grpc.StatusCode.INTERNAL, error_info("INFERENCE_ERROR"), message="decode failed")
    server.answers(*text_chunks("Hello"))
    typed("one", "two")

    assert main(["chat", "--model", "m"]) == 0

    out, err = capsys.readouterr()
    assert out == "Hello\n\n"  # the second for Ctrl-D, which leaves the cursor behind the prompt
    assert "llamawire: decode failed" in err
    assert list(server.received[1].request.messages) == [user("two")]


def test_ctrl_c_stops_an_answer_and_keeps_what_was_said(server, typed, monkeypatch, text_chunks):
    class InterruptedOutput(io.StringIO):
        def write(self, text: str) -> int:
            if text == "Hel":
                _thread.interrupt_main()
            return super().write(text)

    is_over = server.hangs(*text_chunks("Hel")[:2])
    server.answers(*text_chunks("Yes."))
    output = InterruptedOutput()
    monkeypatch.setattr(sys, "stdout", output)
    typed("one", KeyboardInterrupt(), "two", "/exit")

    assert main(["chat", "--model", "m"]) == 0

    assert is_over.wait(5)
    assert list(server.received[1].request.messages) == [user("one"), assistant("Hel"), user("two")]
    assert output.getvalue().endswith("Yes.\n")


def test_ctrl_c_before_an_answer_begins_leaves_the_conversation_as_it_was(
    server, typed, monkeypatch, text_chunks
):
    open_stream = TerminalChat._open_stream
    interruptions = [KeyboardInterrupt()]

    def open_or_be_interrupted(self):
        if interruptions:
            raise interruptions.pop()
        return open_stream(self)

    monkeypatch.setattr(TerminalChat, "_open_stream", open_or_be_interrupted)
    server.answers(*text_chunks("Yes."))
    typed("one", "two", "/exit")

    assert main(["chat", "--model", "m"]) == 0

    assert list(server.received[0].request.messages) == [user("two")]


def test_ctrl_c_while_grpc_begins_a_call_waits_until_it_has_begun(
    server, typed, monkeypatch, capsys, text_chunks
):
    """Interrupted there, gRPC would never let go of the call, nor of the connection."""
    begin = Chat.stream
    has_begun = []

    def begin_and_be_interrupted(self, **options):
        signal.raise_signal(signal.SIGINT)
        has_begun.append(begin(self, **options))
        return has_begun[-1]

    monkeypatch.setattr(Chat, "stream", begin_and_be_interrupted)
    server.answers(*text_chunks("Hello"))
    typed("one", "/exit")

    assert main(["chat", "--model", "m"]) == 0

    assert capsys.readouterr().err.endswith("(stopped)\n")
    with pytest.raises(RequestCancelledError):
        next(has_begun[0])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_ends_a_single_answer_that_came_out_as_it_was_made(server, text_chunks):
    is_over = server.hangs(*text_chunks("Hel\n")[:2])
    command = [*COMMAND, "chat", "Say hello.", "--model", "m"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"Hel\n"

        process.send_signal(signal.SIGINT)

        assert process.wait(10) == 130
        assert process.stderr.read() == b""
    assert is_over.wait(5)


def test_a_reader_who_leaves_is_no_traceback(server):
    server.answers(models(READY))
    with subprocess.Popen(
        [*COMMAND, "models", "list", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()

        assert process.wait(10) == 1
        assert process.stderr.read() == b""
