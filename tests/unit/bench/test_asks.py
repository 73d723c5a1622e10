"""One ask, in every server's words."""

from __future__ import annotations

from dataclasses import replace

from google.protobuf import json_format

from bench.asks import ask, rendered
from bench.bare_loop import shared_beginning
from bench.grpc_caller import request_of
from bench.http_caller import body_of, usage_of
from bench.prompts import Prompts
from bench.streams import Usage
from llamawire_server.shim.chat.request_schema import ChatCompletionRequest
from llamawire_server.shim.chat.translate import to_chat_request


def test_both_sides_are_asked_the_same() -> None:
    asked = replace(
        ask("And then?", 7, system="Be brief.", goes_on=True).after("So it was.", "And?"),
        prediction="It was.",
    )
    body = ChatCompletionRequest.model_validate(body_of(asked))
    translated = json_format.MessageToDict(to_chat_request(body))
    assert translated == json_format.MessageToDict(request_of(asked))


def test_a_plain_ask_has_nothing_special() -> None:
    request = request_of(ask("Hello", 3))
    assert not request.logit_bias
    assert not request.HasField("prediction")
    assert {"logit_bias", "prediction"}.isdisjoint(body_of(ask("Hello", 3)))


def test_the_template_gives_the_model_a_system_prompt() -> None:
    assert rendered(ask("Hi", 1, system="Be kind.")) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert rendered(ask("Hi", 1)).startswith(
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM"
    )


def test_usage_may_be_without_details() -> None:
    assert usage_of({"prompt_tokens": 5, "completion_tokens": 2}) == Usage(5, 2)
    full = {
        "prompt_tokens": 5,
        "completion_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"accepted_prediction_tokens": 1},
    }
    assert usage_of(full) == Usage(5, 2, 3, 1)


def test_no_two_prompts_are_alike_and_all_are_as_long() -> None:
    prompts = Prompts()
    for make in (prompts.story, prompts.short, prompts.notes):
        texts = [make() for _ in range(50)]
        assert len(set(texts)) == 50
        assert len({len(text) for text in texts}) == 1


def test_house_rules_differ_from_their_first_words_on() -> None:
    prompts = Prompts()
    one, other = prompts.house_rules(), prompts.house_rules()
    assert one[:60] != other[:60]


def test_the_shared_beginning_is_what_all_have() -> None:
    assert shared_beginning([[1, 2, 3, 4], [1, 2, 3], [1, 2, 9]]) == [1, 2]
    assert shared_beginning([[1, 2], [1, 2, 3]]) == [1, 2]
    assert shared_beginning([[1], [2]]) == []
