"""Many raters at once on the page of `samdan judge serve`: what they wait, what becomes of votes.

    python -m benchmarks.raters --raters 200 --seconds 60 --kill

Everything is on this machine: a server in a process of its own, and all raters in another. Each
acts every ``--every`` seconds (a vote, then the next pair). With ``--kill`` the server is killed
(SIGKILL) in the middle and started again; a rater who had no answer asks again. At the end every
vote that was confirmed is in the file once, and none twice.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

SERVER = """
import sys
from pathlib import Path
from samdan.judge.server import Listening, Session
from samdan.judge.store import Votes
from samdan.preferences.votes import Pair
numbers = range(int(sys.argv[3]))
pairs = [Pair(f"{n}?", "a", "b", f"{n} " * 80, f"{n}. " * 80, "prompts") for n in numbers]
with Votes(Path(sys.argv[1])) as votes:
    session = Session("load", pairs, votes, dict, token="t" * 32)
    Listening(session, "127.0.0.1", int(sys.argv[2])).serve()
"""


@dataclass
class Load:
    """What the raters saw. ``waits``: seconds of each answered request, while a server was up."""

    waits: list[float] = field(default_factory=list)
    confirmed: set[tuple[str, str]] = field(default_factory=set)
    again: int = 0


def measure(raters: int, seconds: float, every: float, kill: bool) -> dict[str, float | int]:
    """Runs the load and counts the votes: those confirmed and not there, those there twice."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "votes.sqlite"
        port = _free_port()
        pairs = int(seconds / every) + 20
        servers = [_start(file, port, pairs)]
        load = Load()
        try:
            asyncio.run(_all(load, (file, port, pairs), raters, seconds, every, kill, servers))
        finally:
            for server in servers:
                server.kill()
                server.wait()
        with sqlite3.connect(file) as opened:
            rows = opened.execute("SELECT rater, pair FROM votes").fetchall()
    lost = load.confirmed - set(rows)
    waits = sorted(load.waits)
    found: dict[str, float | int] = {
        "raters": raters,
        "requests": len(waits),
        "p50_ms": round(1000 * waits[len(waits) // 2], 1),
        "p99_ms": round(1000 * waits[int(0.99 * (len(waits) - 1))], 1),
        "worst_ms": round(1000 * waits[-1], 1),
        "votes": len(rows),
        "confirmed": len(load.confirmed),
        "lost": len(lost),
        "doubled": len(rows) - len(set(rows)),
        "asked_again": load.again,
    }
    return found


async def _all(
    load: Load,
    place: tuple[Path, int, int],
    raters: int,
    seconds: float,
    every: float,
    kill: bool,
    servers: list[subprocess.Popen[bytes]],
) -> None:
    end = time.monotonic() + seconds
    down: list[bool] = [False]
    tasks = [
        asyncio.create_task(_rater(load, place[1], f"rater {n}", end, every, down))
        for n in range(raters)
    ]
    if kill:
        await asyncio.sleep(seconds / 2)
        down[0] = True
        os.kill(servers[0].pid, signal.SIGKILL)
        servers[0].wait()
        servers[0] = await asyncio.to_thread(_start, *place)
        down[0] = False
    await asyncio.gather(*tasks)


async def _rater(
    load: Load, port: int, name: str, end: float, every: float, down: list[bool]
) -> None:
    rng = random.Random(name)
    await asyncio.sleep(rng.random() * every)
    link: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    pair = None
    while time.monotonic() < end:
        began = time.monotonic()
        if pair is not None:
            body = {"rater": name, "pair": pair, "choice": rng.choice(("left", "right", "tie"))}
            if await _asked(load, port, link, "/vote", body, down) is not None:
                load.confirmed.add((name, pair))
        found = await _asked(load, port, link, "/next", {"rater": name}, down)
        shown = found.get("pair") if isinstance(found, dict) else None
        pair = shown["id"] if isinstance(shown, dict) else None
        await asyncio.sleep(max(0.0, began + every - time.monotonic()))
    for _, writer in link:
        writer.close()


async def _asked(
    load: Load,
    port: int,
    link: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]],
    path: str,
    body: dict[str, str],
    down: list[bool],
) -> dict[str, object] | None:
    """An answer of the page; asks again until there is one, for at most two minutes."""
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX-Samdan-Token: {'t' * 32}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    ).encode()
    for _ in range(240):
        was_down, start = down[0], time.monotonic()
        try:
            if not link:
                link.append(await asyncio.open_connection("127.0.0.1", port))
            reader, writer = link[0]
            writer.write(head + content)
            await writer.drain()
            answer = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", answer)
            found = await reader.readexactly(int(length[1]) if length else 0)
            if not answer.startswith(b"HTTP/1.1 200"):
                raise OSError(answer.splitlines()[0].decode())
        except (OSError, asyncio.IncompleteReadError):
            link.clear()
            load.again += 1
            await asyncio.sleep(0.5)
            continue
        if not (was_down or down[0]):
            load.waits.append(time.monotonic() - start)
        value: dict[str, object] = json.loads(found)
        return value
    return None


def _start(file: Path, port: int, pairs: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", SERVER, str(file), str(port), str(pairs)]
    server = subprocess.Popen(command)
    for _ in range(1200):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return server
    raise RuntimeError("the server did not start")


def _free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port: int = opened.getsockname()[1]
    return port


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--raters", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--every", type=float, default=2.0)
    parser.add_argument("--kill", action="store_true")
    given = parser.parse_args()
    found = measure(given.raters, given.seconds, given.every, given.kill)
    print(json.dumps(found, indent=1))
    sys.exit(int(bool(found["lost"] or found["doubled"])))


if __name__ == "__main__":
    main()
