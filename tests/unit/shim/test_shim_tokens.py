"""llama-server's paths for text and tokens, over a scripted service."""

from __future__ import annotations

import pytest

from llamawire.v1 import chat_pb2, model_pb2, tokenizer_pb2
from llamawire_server.errors import invalid_field, model_not_found
from llamawire_server.shim.tokens import schema

pytestmark = pytest.mark.asyncio(loop_scope="module")

READY = model_pb2.Model(name="tiny", state=model_pb2.MODEL_STATE_READY)
OTHER = model_pb2.Model(name="other", state=model_pb2.MODEL_STATE_READY)
UNLOADED = model_pb2.Model(name="idle", state=model_pb2.MODEL_STATE_UNLOADED)
MESSAGES = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("options", "add_special", "parse_special"),
    [
        ({}, False, True),
        ({"add_special": None, "parse_special": None, "with_pieces": None}, False, True),
        ({"add_special": True, "parse_special": False, "with_pieces": False}, True, False),
    ],
)
async def test_tokenize(http, service, options, add_special, parse_special):
    service.prepared = tokenizer_pb2.TokenizeResponse(tokens=[7, 8], pieces=[b"a", b"b"])

    response = await http.post("/tokenize", json={"model": "m", "content": "ab", **options})

    assert response.json() == {"tokens": [7, 8]}
    schema.TokenizeAnswer.model_validate(response.json())
    assert service.requests == [
        tokenizer_pb2.TokenizeRequest(
            model="m",
            text="ab",
            add_special=add_special,
            parse_special=parse_special,
            unparse_special=True,
        )
    ]


def parts(*given: str | list[int]) -> list[tokenizer_pb2.TokenizeRequest.Part]:
    part = tokenizer_pb2.TokenizeRequest.Part
    return [part(text=one) if isinstance(one, str) else part(tokens=part.Tokens(tokens=one)) for one in given]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (["a"], parts("a")),
        (["a", "", "b"], parts("a", "", "b")),
        ([5], parts([5])),
        ([5, 6, "a", 7, "b", "c"], parts([5, 6], "a", [7], "b", "c")),
        ([0] * 20_000, parts([0] * 20_000)),
        ([""] * 4096, parts(*[""] * 4096)),
    ],
    ids=["text", "texts", "token", "mixed", "many tokens", "many texts"],
)
@pytest.mark.parametrize("with_pieces", [False, True])
async def test_tokenize_texts_and_tokens(http, service, content, expected, with_pieces):
    service.prepared = tokenizer_pb2.TokenizeResponse(tokens=[5, 8], pieces=[b"a", b"b"])

    body = {"model": "m", "content": content, "add_special": True, "with_pieces": with_pieces}
    response = await http.post("/tokenize", json=body)

    whole = [{"id": 5, "piece": "a"}, {"id": 8, "piece": "b"}]
    assert response.json() == {"tokens": whole if with_pieces else [5, 8]}
    assert service.requests == [
        tokenizer_pb2.TokenizeRequest(
            model="m", parts=expected, add_special=True, parse_special=True, unparse_special=True
        )
    ]


@pytest.mark.parametrize(
    ("path", "body", "answer"),
    [
        ("/tokenize", {}, {"tokens": []}),
        ("/tokenize", {"content": None, "add_special": True, "with_pieces": True}, {"tokens": []}),
        ("/tokenize", {"content": []}, {"tokens": []}),
        ("/detokenize", {}, {"content": ""}),
        ("/detokenize", {"tokens": []}, {"content": ""}),
    ],
)
async def test_nothing_comes_to_nothing(http, service, path, body, answer):
    response = await http.post(path, json=body)

    assert (response.status_code, response.json()) == (200, answer)
    assert service.requests == [], "not even a model is needed"


@pytest.mark.parametrize(
    ("field", "param"),
    [
        ("parts", "content"),
        ("parts[0].tokens[1]", "content[1]"),
        ("parts[1].text", "content[2]"),
        ("parts[2].tokens", "content[3]"),
        ("parts[2].tokens[0]", "content[3]"),
        ("parts[3]", "content[4]"),
    ],
)
async def test_a_part_that_the_service_refuses_is_called_by_its_place(http, service, field, param):
    service.prepared = invalid_field(field, "is wrong")

    response = await http.post("/tokenize", json={"model": "m", "content": [5, 6, "a", 7, "b"]})

    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


async def test_tokenize_with_pieces(http, service):
    pieces = ["Grü".encode(), b"\xc3", b"\x9f", b""]
    service.prepared = tokenizer_pb2.TokenizeResponse(tokens=[7, 8, 9, 10], pieces=pieces)

    response = await http.post("/tokenize", json={"model": "m", "content": "Grüß", "with_pieces": True})

    assert response.json() == {
        "tokens": [
            {"id": 7, "piece": "Grü"},
            {"id": 8, "piece": [0xC3]},
            {"id": 9, "piece": [0x9F]},
            {"id": 10, "piece": ""},
        ]
    }
    schema.TokenizeAnswer.model_validate(response.json())


@pytest.mark.parametrize("with_pieces", [False, True])
async def test_tokenize_what_is_long(http, service, with_pieces):
    service.prepared = tokenizer_pb2.TokenizeResponse(tokens=range(20_000), pieces=[b"x"] * 20_000)

    response = await http.post("/tokenize", json={"model": "m", "content": "x", "with_pieces": with_pieces})

    tokens = response.json()["tokens"]
    assert len(tokens) == 20_000
    assert tokens[-1] == ({"id": 19_999, "piece": "x"} if with_pieces else 19_999)


async def test_detokenize(http, service):
    service.prepared = tokenizer_pb2.DetokenizeResponse(text="<s>ab")

    response = await http.post("/detokenize", json={"model": "m", "tokens": [1, 7, 8]})

    assert response.json() == {"content": "<s>ab"}
    schema.DetokenizeAnswer.model_validate(response.json())
    assert service.requests == [
        tokenizer_pb2.DetokenizeRequest(model="m", tokens=[1, 7, 8], unparse_special=True)
    ]


async def test_apply_template(http, service):
    service.prepared = tokenizer_pb2.ApplyChatTemplateResponse(prompt="<s>Hi", tokens=[1, 7])
    fields = {"model": "m", "messages": MESSAGES, "chat_template_kwargs": {"x": True}, "temperature": 0}

    response = await http.post("/apply-template", json=fields)

    assert response.json() == {"prompt": "<s>Hi"}
    schema.ApplyTemplateAnswer.model_validate(response.json())
    (request,) = service.requests
    assert request.request.model == "m"
    assert request.request.messages[0] == chat_pb2.Message(role=chat_pb2.ROLE_USER, content="Hi")
    assert request.request.chat_template_kwargs["x"] is True


@pytest.mark.parametrize(("given", "expected"), [({}, None), (None, None), (True, True), (False, False)])
async def test_apply_template_up_to_where_the_assistant_speaks(http, service, given, expected):
    service.prepared = tokenizer_pb2.ApplyChatTemplateResponse(prompt="Hi")
    fields = {} if given == {} else {"add_generation_prompt": given}

    response = await http.post("/apply-template", json={"model": "m", "messages": MESSAGES, **fields})

    assert response.json() == {"prompt": "Hi"}
    (request,) = service.requests
    told = request.add_generation_prompt if request.HasField("add_generation_prompt") else None
    assert told is expected


BODIES = {
    "/tokenize": {"content": "ab"},
    "/detokenize": {"tokens": [7]},
    "/apply-template": {"messages": MESSAGES},
}
ANSWERS = {
    "/tokenize": tokenizer_pb2.TokenizeResponse(),
    "/detokenize": tokenizer_pb2.DetokenizeResponse(),
    "/apply-template": tokenizer_pb2.ApplyChatTemplateResponse(),
}


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("model", [{}, {"model": None}, {"model": ""}])
async def test_the_model_may_be_left_out_where_one_is_loaded(http, service, path, model):
    service.models = [UNLOADED, READY]
    service.prepared = ANSWERS[path]

    response = await http.post(path, json={**BODIES[path], **model})

    assert response.status_code == 200
    request = service.requests[-1]
    assert (request.request.model if path == "/apply-template" else request.model) == "tiny"


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(("models", "number"), [([], "no"), ([UNLOADED], "no"), ([READY, OTHER], "2")])
async def test_the_model_is_required_where_it_can_t_be_told(http, service, path, models, number):
    service.models = models

    response = await http.post(path, json=BODIES[path])

    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"] == "model"
    assert error["message"] == f"model: is required: {number} models are loaded"


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {"content": 7}, "content"),
        ("/tokenize", {"content": {}}, "content"),
        ("/tokenize", {"content": ["a", [7]]}, "content[1]"),
        ("/tokenize", {"content": ["a", None]}, "content[1]"),
        ("/tokenize", {"content": [7, True]}, "content[1]"),
        ("/tokenize", {"content": [7.5]}, "content[0]"),
        ("/tokenize", {"content": [2**31]}, "content[0]"),
        ("/tokenize", {"content": [""] * 4097}, "content"),
        ("/tokenize", {"content": ["", 1] * 2049}, "content"),
        ("/tokenize", {"content": "a", "model": 7}, "model"),
        ("/tokenize", {"content": "a", "add_special": 1}, "add_special"),
        ("/tokenize", {"content": "a", "text": "a"}, "text"),
        ("/detokenize", {"tokens": 1}, "tokens"),
        ("/detokenize", {"tokens": [1, "2"]}, "tokens[1]"),
        ("/detokenize", {"tokens": [2**31]}, "tokens[0]"),
        ("/apply-template", {}, "messages"),
        ("/apply-template", {"messages": MESSAGES, "add_generation_prompt": 1}, "add_generation_prompt"),
        ("/apply-template", {"messages": [{"role": "bard"}]}, "messages[0].role"),
        ("/apply-template", {"messages": [1] * 20_000}, "messages"),
    ],
)
async def test_a_bad_field_is_named(http, service, path, body, param):
    response = await http.post(path, json=body)

    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    assert service.requests == []


@pytest.mark.parametrize(
    ("path", "field", "param"),
    [
        ("/tokenize", "text", "content"),
        ("/tokenize", "model", "model"),
        ("/detokenize", "tokens[0]", "tokens[0]"),
        ("/apply-template", "messages[0].content_parts[0]", "messages[0].content[0]"),
    ],
)
async def test_a_field_that_the_service_refuses_has_its_own_name(http, service, path, field, param):
    service.prepared = invalid_field(field, "is wrong")

    response = await http.post(path, json={"model": "m", **BODIES[path]})

    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


async def test_an_unknown_model(http, service):
    service.prepared = model_not_found("m")

    response = await http.post("/tokenize", json={"model": "m", "content": "a"})

    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")
