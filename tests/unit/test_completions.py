"""The endpoint for trying a model: what is asked for is done, or refused with a reason."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

pytest.importorskip("starlette")

import tiny
from samdan.evals.generate import generate
from samdan.pages.completions import Asked, Counts, Refused, application, parse
from samdan.pages.listening import Listening
from samdan.records import DataError, Message
from samdan.run.served import Served, _cut

TOKEN = "a-token"
HELLO = [{"role": "user", "content": "안녕하세요?"}]


@pytest.fixture(scope="module")
def served() -> Served:
    """A tiny model that is not loaded from anywhere."""
    made = Served.__new__(Served)
    chat = tiny.chat()
    made.max_new_tokens = 12
    made.names = ("cpt", "dpo")
    models = {name: tiny.model(vocab_size=len(chat.tokenizer), seed=seed)
              for seed, name in enumerate(made.names)}  # fmt: skip
    made._models = {name: (model, chat) for name, model in models.items()}
    made._one_at_a_time = threading.Lock()
    return made


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


@dataclass(frozen=True)
class Client:
    port: int
    headers: Mapping[str, str]

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, dict(self.headers) | headers)
            found = connection.getresponse()
            told = {name.lower(): value for name, value in found.getheaders()}
            return Answer(found.status, told, found.read().decode())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.send("GET", path, **headers)


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[Client]:
    server = Listening(application(served, TOKEN, ["127.0.0.1"]), TOKEN, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    yield Client(server.port, {"authorization": f"Bearer {TOKEN}"})
    server.stop()
    thread.join(30)


def ask(client: Client, **more: Any) -> Answer:
    asked = {"messages": HELLO, "temperature": 0} | more
    return client.send("POST", "/v1/chat/completions", json.dumps(asked).encode())


def test_an_answer_is_what_the_model_generates(client: Client, served: Served) -> None:
    model, chat = served._models["dpo"]
    prompt = chat.prompt([Message("user", "안녕하세요?")])
    ((expected, ended),) = generate(model, chat, [prompt], 7)
    found = ask(client, model="dpo", max_tokens=7).json()
    (choice,) = found["choices"]
    assert choice["message"] == {"role": "assistant", "content": expected}
    assert choice["finish_reason"] == ("stop" if ended else "length")
    assert found["usage"]["prompt_tokens"] == len(prompt)
    assert found["usage"]["completion_tokens"] <= 7
    assert found["object"] == "chat.completion"


def test_a_stream_adds_up_to_the_answer(client: Client) -> None:
    whole = ask(client).json()["choices"][0]["message"]["content"]
    answer = ask(client, stream=True, stream_options={"include_usage": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    texts = [c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"]]
    assert "".join(texts) == whole
    assert chunks[-1]["usage"]["total_tokens"] > 0
    assert chunks[-2]["choices"][0]["finish_reason"] in ("stop", "length")


def test_drawn_answers_repeat_with_their_seed(client: Client) -> None:
    def text(seed: int) -> str:
        return ask(client, temperature=1.5, seed=seed).json()["choices"][0]["message"]["content"]

    assert text(1) == text(1)
    assert text(1) != text(2)


def test_a_stop_ends_the_answer_before_it(client: Client) -> None:
    whole = ask(client).json()["choices"][0]["message"]["content"]
    middle = whole[len(whole) // 2]
    cut = ask(client, stop=[middle]).json()["choices"][0]
    assert cut["message"]["content"] == whole[: whole.index(middle)]
    assert cut["finish_reason"] == "stop"
    assert _cut("abc", ()) is None


@pytest.mark.parametrize(
    ("more", "status", "said"),
    [
        ({"tools": []}, 400, "'tools' is not supported here"),
        ({"model": "gpt"}, 404, "there are: cpt, dpo"),
        ({"n": 2}, 400, "one answer at a time"),
        ({"temperature": 9}, 400, "temperature: found 9, expected a number 0 to 2"),
        ({"temperature": True}, 400, "temperature"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"top_p": "x"}, 400, "top_p"),
        ({"stop": [""]}, 400, "stop"),
        ({"messages": []}, 400, "messages: expected a list"),
        ({"messages": "hi"}, 400, "messages: expected a list"),
        ({"messages": [{"role": "cat", "content": "x"}]}, 400, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "content"),
        ({"messages": [{"role": "user", "content": "x " * 9000}]}, 400, "no position left"),
    ],
)
def test_what_cannot_be_done_is_refused(
    client: Client, more: dict[str, Any], status: int, said: str
) -> None:
    for stream in (False, True):
        answer = ask(client, **more, stream=stream)
        assert answer.status == status
        assert said in answer.json()["error"]["message"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"[" * 9999, b"\xff", b'"x"'])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(Refused):
        parse(body, ["m"])


def test_only_who_has_the_token_is_served(client: Client) -> None:
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}):
        other = Client(client.port, headers)
        assert other.get("/v1/models").status == 403
        assert ask(other).status == 403
        assert other.get("/").status == 403
    assert client.get("/v1/models", origin="http://evil.example").status == 403
    assert client.get("/v1/models", host="evil.example").status == 421
    long = b'{"user": "' + b"x" * (1 << 18) + b'"}'
    assert client.send("POST", "/v1/chat/completions", long).status == 413


def test_models_and_page(client: Client) -> None:
    assert [m["id"] for m in client.get("/v1/models").json()["data"]] == ["cpt", "dpo"]
    page = client.get(f"/?token={TOKEN}")
    assert page.status == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "src=" not in page.text
    assert "http" not in page.text.split("</style>")[1]


def test_openai_names_of_roles_and_limits() -> None:
    body = {"messages": [{"role": "developer", "content": [{"type": "text", "text": "a"},
                                                           {"type": "text", "text": "b"}]}],
            "max_completion_tokens": 3}  # fmt: skip
    name, asked, _ = parse(json.dumps(body).encode(), ["m"])
    assert (name, asked) == ("m", Asked((Message("system", "ab"),), 3))


def test_a_template_that_refuses_is_told(served: Served) -> None:
    with pytest.raises(DataError):
        list(served.answer("cpt", Asked((Message("user", "x " * 9000),)), Counts()))
