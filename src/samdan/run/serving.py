"""`samdan judge serve`: the page for people, until it is interrupted."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from functools import partial

from samdan.judge.store import Votes
from samdan.records import EnvironmentFailure
from samdan.run.judging import Judged, Say

NOT_LOOPBACK = (
    "{host} is an address that other machines reach: whoever has the page's address can vote under "
    "any name, and http can be read on the way. Add --allow-network in a network that you trust, "
    "or leave out --host and forward the port (ssh -L)"
)


def listen(judged: Judged, place: tuple[str, int], reveal: bool, say: Say) -> None:
    """``place``: host and port. Blocks until it is interrupted."""
    try:
        from samdan.judge.server import Listening, Session
    except ImportError as error:
        raise EnvironmentFailure(
            f"samdan judge serve needs {error.name}: pip install 'samdan[judge]'"
        ) from None
    host, port = place
    with Votes(judged.ledger.votes()) as votes:
        run = judged.ledger.folder.resolve().name
        session = Session(run, judged.pairs, votes, partial(judged.summary, votes), reveal)
        server = Listening(session, host, port)
        say(f"{len(judged.pairs)} pairs of {', '.join(judged.models)} for each rater")
        for (a, b), prompts in judged.chosen.identical.items():
            say(f"{a} and {b}: {prompts} prompts have identical answers and are not asked")
        if not is_loopback(host):
            say(
                "Others can reach this page: whoever has the address can vote under any name, and "
                "http can be read on the way. Use it in a network that you trust."
            )
        if host in ("0.0.0.0", "::"):
            say(f"In place of {host}, raters write the address of this machine.")
        say(f"Open {server.address}")
        say("Votes are saved as they are cast; stop with Ctrl-C and go on with the same command.")
        with suppress(KeyboardInterrupt):  # the way to end it
            server.serve()
        say(f"votes: {len(votes.counting())} in {votes.path}; samdan judge report tells them")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
