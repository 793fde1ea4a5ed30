"""`samdan serve`: models behind OpenAI's chat completions on this machine, for trying them."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from samdan.evals.generate import Sampling, stream
from samdan.lm.chat import ChatFormat, TemplateError
from samdan.lm.model import load_chat, load_model
from samdan.records import DataError, EnvironmentFailure
from samdan.run.chatting import models_of
from samdan.run.context import to_write

if TYPE_CHECKING:
    from samdan.pages.completions import Asked, Counts


class Served:
    """Loaded models by name; one answer is written at a time."""

    def __init__(self, places: Sequence[str], max_new_tokens: int) -> None:
        found = dict(one for place in places for one in models_of(place))
        self.max_new_tokens = max_new_tokens
        self.names: Sequence[str] = tuple(found)
        self._models: dict[str, tuple[Any, ChatFormat]] = {
            name: (to_write(load_model(path, key="")), load_chat(path))
            for name, path in found.items()
        }
        self._one_at_a_time = threading.Lock()

    def answer(self, name: str, asked: Asked, counts: Counts) -> Iterator[str]:
        """The answer so far, after every token; ``counts`` is filled in."""
        model, chat = self._models[name]
        try:
            prompt = chat.prompt(asked.messages)
        except TemplateError as error:
            raise DataError(f"the chat template refuses these messages: {error}") from None
        most = asked.max_tokens or self.max_new_tokens
        room = int(getattr(model.config, "max_position_embeddings", 1 << 30)) - len(prompt)
        if room < 1:
            raise DataError(f"{len(prompt)} tokens, and the model has no position left to answer")
        most = min(most, room)
        counts.prompt, counts.completion, counts.ended = len(prompt), 0, "length"
        seed = asked.seed if asked.seed is not None else secrets.randbits(48)
        heat = asked.temperature
        sampling = Sampling(heat, asked.top_p, str(seed)) if heat > 0 else None
        with self._one_at_a_time:
            for written in stream(model, chat, prompt, most, sampling):
                counts.completion = written.tokens
                cut = _cut(written.text, asked.stop)
                if cut is not None or written.ended:
                    counts.ended = "stop"
                yield written.text if cut is None else cut
                if cut is not None:
                    return


def _cut(text: str, stops: Sequence[str]) -> str | None:
    """The text before the first stop, where one is in it."""
    places = [at for stop in stops if (at := text.find(stop)) >= 0]
    return text[: min(places)] if places else None


def serve(
    places: Sequence[str],
    max_new_tokens: int,
    place: tuple[str, int],
    say: Callable[[str], None],
    lang: Literal["en", "ko"] | None = None,
) -> None:
    """``places``: models or runs; ``place``: host and port. Blocks until it is interrupted."""
    try:
        from samdan.pages.completions import application
        from samdan.pages.listening import Listening, warnings
    except ImportError as error:
        raise EnvironmentFailure(
            f"samdan serve needs {error.name}: pip install 'samdan[judge]'"
        ) from None
    host, port = place
    served = Served(places, max_new_tokens)
    token = secrets.token_urlsafe(24)
    server = Listening(application(served, token, [host], lang), token, host, port)
    for line in warnings(host, "ask the models"):
        say(line)
    say(f"models: {', '.join(served.names)}")
    say(f"Open {server.address}")
    say(f"OpenAI's clients: base_url http://{host}:{server.port}/v1, api_key {token}")
    say("For trying, one answer at a time; for many users: vllm serve MODEL. Stop with Ctrl-C.")
    with suppress(KeyboardInterrupt):  # the way to end it
        server.serve()
