"""`samdan judge serve`: the page for people, until it is interrupted."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Literal

from samdan.judge.store import Votes
from samdan.records import EnvironmentFailure
from samdan.run.judging import Judged, Say


def listen(
    judged: Judged,
    place: tuple[str, int],
    reveal: bool,
    say: Say,
    lang: Literal["en", "ko"] | None = None,
) -> None:
    """``place``: host and port. Blocks until it is interrupted."""
    try:
        from samdan.judge.server import Listening, Session
        from samdan.pages.listening import warnings
    except ImportError as error:
        raise EnvironmentFailure(
            f"samdan judge serve needs {error.name}: pip install 'samdan[judge]'"
        ) from None
    host, port = place
    with Votes(judged.ledger.votes()) as votes:
        run = judged.ledger.folder.resolve().name
        session = Session(run, judged.pairs, votes, partial(judged.summary, votes), reveal, lang)
        server = Listening(session, host, port)
        say(f"{len(judged.pairs)} pairs of {', '.join(judged.models)} for each rater")
        for (a, b), prompts in judged.chosen.identical.items():
            say(f"{a} and {b}: {prompts} prompts have identical answers and are not asked")
        for warning in warnings(host, "vote under any name"):
            say(warning)
        say(f"Open {server.address}")
        say("Votes are saved as they are cast; stop with Ctrl-C and go on with the same command.")
        with suppress(KeyboardInterrupt):  # the way to end it
            server.serve()
        say(f"votes: {len(votes.counting())} in {votes.path}; samdan judge report tells them")

