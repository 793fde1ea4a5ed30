"""What is given changed inputs, and what may come of it.

Targets that need torch import it when they begin, so that the others are quick.
"""

from __future__ import annotations

import http.client
import json
import random
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from fuzz.loop import Case, Target, Wrong
from fuzz.mutants import changed_bytes, changed_tree
from samdan.records import Drop, RecipeError, SamdanError

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTED = frozenset((200, 400, 403, 404, 405, 408, 413, 415, 421, 429, 431, 501, 503))
LINES = [
    {"text": "한빛전자는 2019년에 문을 열었다."},
    {"messages": [{"role": "user", "content": "안녕?"}, {"role": "assistant", "content": "네."}]},
    {"conversations": [{"from": "human", "value": "가"}, {"from": "gpt", "value": "나"}]},
    {"prompt": "가?", "completion": "나."},
    {"instruction": "가", "input": "", "output": "나"},
    {"prompt": "가?", "chosen": "나.", "rejected": "다."},
    {"prompt": [{"role": "user", "content": "가"}], "chosen": "나", "rejected": "다"},
]
TEMPLATES = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] }}{% endfor %}",
    "{% macro a(n) %}{% if n > 0 %}{{ a(n - 1) ~ 'x' * n }}{% endif %}{% endmacro %}{{ a(9) }}",
    "{% set ns = namespace(x='a', n=0) %}{% for i in range(20) %}{% set ns.x = ns.x + ns.x[:9] %}"
    "{% for j in range(i) %}{% set ns.n = ns.n * 3 + j ** 2 %}{% endfor %}{% endfor %}{{ ns.x }}",
    "{{ messages | map(attribute='content') | join(', ') | replace('a', 'bb') | indent(4) }}"
    "{{ '%5d|%-8s' % (3, 'a') }}{{ '{:>9}'.format('x') }}{{ messages | tojson(indent=2) }}",
)


@contextmanager
def recipes() -> Iterator[Case]:
    """Parsed, planned, or refused with the recipe's name."""
    from samdan.plan import steps
    from samdan.recipe import parse

    texts = [path.read_text("utf-8") for path in sorted((ROOT / "recipes").glob("*.yaml"))]
    trees = [_plain(YAML(typ="safe").load(text)) for text in texts]

    def case(rng: random.Random) -> str:
        if rng.random() < 0.5:
            raw = changed_bytes(rng.choice(texts).encode(), rng)
            text = raw.decode("utf-8", "surrogateescape" if rng.random() < 0.1 else "replace")
        else:
            text = json.dumps(changed_tree(rng.choice(trees), rng), ensure_ascii=False)
        try:
            steps(parse(text, "recipe.yaml"), {})
        except RecipeError as error:
            if "recipe.yaml" not in str(error) or "Traceback" in str(error):
                raise Wrong(f"no recipe is named: {error}") from None
            return "refused"
        return "accepted"

    yield case


@contextmanager
def files() -> Iterator[Case]:
    """Every reader: rows or named drops, and nothing from nothing."""
    from reading import read
    from samdan.data.readers.file import Row
    from samdan.data.readers.worker import Worker
    from unit import test_hostile_files as known

    suffixes = sorted(known.WHOLE)
    with Worker() as worker:

        def case(rng: random.Random) -> str:
            suffix = rng.choice(suffixes)
            change = rng.choice((changed_bytes, known.mutant_inside))
            content = change(known.WHOLE[suffix], rng)
            found = read(worker, f"x{suffix}", content)
            if not found:
                raise Wrong(f"x{suffix}: neither a row nor a drop")
            for item in found:
                if isinstance(item, Drop) and "its reader ended" in item.detail:
                    raise Wrong(f"x{suffix}: {item.detail}")
                if isinstance(item, Drop) and not item.reason.isidentifier():
                    raise Wrong(f"x{suffix}: {item.reason}")
            return f"{suffix} {'rows' if any(isinstance(i, Row) for i in found) else 'drops'}"

        yield case


@contextmanager
def rows() -> Iterator[Case]:
    """JSON lines to records of every stage: as many records and drops as there are lines."""
    from samdan.data.formats import records
    from samdan.recipe import Source

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jsonl"

        def case(rng: random.Random) -> str:
            lines = []
            for _ in range(rng.randrange(1, 6)):
                value = changed_tree(rng.choice(LINES), rng)
                line = json.dumps(value, ensure_ascii=rng.random() < 0.5)
                raw = line.encode("utf-8", "surrogatepass")
                lines.append(changed_bytes(raw, rng) if rng.random() < 0.3 else raw)
            content = b"\n".join(line.replace(b"\n", b" ").replace(b"\r", b" ") for line in lines)
            path.write_bytes(content)
            kind = rng.choice(("cpt", "sft", "dpo"))
            found = list(records(kind, Source(path=str(path))))
            expected = sum(bool(line.strip()) for line in content.split(b"\n"))
            if len(found) < expected:
                raise Wrong(f"{len(found)} records and drops of {expected} lines: {content!r}")
            kept = sum(not isinstance(item, Drop) for item in found)
            return f"{kind} {'some' if kept else 'none'} kept"

        yield case


@contextmanager
def templates() -> Iterator[Case]:
    """Rendered or refused, soon; never memory or time without end."""
    import resource

    from samdan.lm.templates import Template

    messages = [{"role": "user", "content": "가" * 50}, {"role": "assistant", "content": "나"}]
    numbers = ("0", "9", "99", "9999", "99999", "999999999", "10 ** 9", "'a'", "messages", "ns.x")
    Template("").render(messages)  # imports are not a case's
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (24 << 30, before[1]))

    def case(rng: random.Random) -> str:
        text = rng.choice(TEMPLATES)
        for _ in range(rng.randrange(4)):
            digits = [i for i, char in enumerate(text) if char.isdigit()]
            if digits:
                at = rng.choice(digits)
                text = text[:at] + rng.choice(numbers) + text[at + 1 :]
        if rng.random() < 0.5:
            text = changed_bytes(text.encode(), rng).decode("utf-8", "replace")
        try:
            shown = Template(text).render(messages, add_generation_prompt=True, bos_token="<s>")
        except MemoryError:
            raise
        except Exception as error:  # a template is a program: lm/chat.py tells whatever it raises
            return type(error).__name__
        if len(shown) > 5_000_000:
            raise Wrong(f"{len(shown)} characters")
        return "rendered"

    try:
        yield case
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextmanager
def checkpoints() -> Iterator[Case]:
    """A changed checkpoint is passed over with a reason, or says what it said before."""
    import torch

    from samdan.train import state

    model = torch.nn.Linear(3, 2)
    names = [name for name, _ in model.named_parameters()]
    optimizer = torch.optim.AdamW([{"params": list(model.parameters()), "names": names}])
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    progress = state.Progress(3, 9, "chain", "identity", {"precision": "fp32"})
    with tempfile.TemporaryDirectory() as folder:
        whole = state.save_checkpoint(Path(folder), model, optimizer, progress, keep=1)
        contents = {file.name: file.read_bytes() for file in whole.iterdir()}
        manifest = json.loads(contents["manifest.json"])

        def case(rng: random.Random) -> str:
            name = rng.choice((*contents, "manifest.json", "manifest.json"))
            made = changed_bytes(contents[name], rng)
            if name == "manifest.json" and rng.random() < 0.7:
                made = json.dumps(changed_tree(manifest, rng)).encode("utf-8", "surrogatepass")
            try:
                (whole / name).write_bytes(made)
                if rng.random() < 0.1:
                    (whole / name).unlink()
                found, problems = state.latest_checkpoint(Path(folder), "identity")
                at = state.checkpoint_at(Path(folder), 10**9)
                if found is None:
                    if at is not None and name != "manifest.json":
                        raise Wrong("passed over by one and taken by the other")
                    return "passed over, with a reason" if problems else "of another run"
                if state.load_checkpoint(found, model, optimizer) != progress:
                    raise Wrong(f"{name}: changed, and taken for whole")
                return "taken"
            finally:
                for file, content in contents.items():
                    (whole / file).write_bytes(content)

        yield case


@contextmanager
def models() -> Iterator[Case]:
    """A changed model folder is loaded, or refused with its name."""
    import tiny
    from samdan.lm.chat import ChatFormat
    from samdan.lm.model import load_chat, load_model, save_model
    from samdan.lm.tokenizer import train_tokenizer

    with tempfile.TemporaryDirectory() as folder:
        whole, copied = Path(folder) / "model", Path(folder) / "copied"
        chat = ChatFormat(train_tokenizer(tiny.TEXTS, 300))
        save_model(tiny.model(vocab_size=300), chat, whole, "card", True)
        contents = {file.name: file.read_bytes() for file in whole.iterdir()}
        trees = {n: json.loads(c) for n, c in contents.items() if n.endswith(".json")}

        def case(rng: random.Random) -> str:
            shutil.rmtree(copied, ignore_errors=True)
            shutil.copytree(whole, copied)
            name = rng.choice([n for n in contents if n != "README.md"])
            made = changed_bytes(contents[name], rng)
            if name in trees and rng.random() < 0.7:
                tree = changed_tree(trees[name], rng)
                made = json.dumps(tree).encode("utf-8", "surrogatepass")
            (copied / name).write_bytes(made)
            if rng.random() < 0.05:
                (copied / name).unlink()
            ended = []
            for load in (load_model, load_chat):
                try:
                    load(str(copied))
                    ended.append("loaded")
                except SamdanError as error:
                    if not str(error).strip() or "Traceback" in str(error):
                        raise Wrong(f"no message: {error!r}") from None
                    ended.append("refused")
            return f"model {ended[0]}, tokenizer {ended[1]}"

        yield case


@contextmanager
def run_folders() -> Iterator[Case]:
    """Status and report of a run whose files are damaged."""
    from judged import make_run
    from samdan.run.status import again, shown

    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder) / "run", 2)
        events = [
            {"time": "2026-01-01T00:00:00+00:00", "event": "begin", "name": "a", "seed": 1},
            {"time": "2026-01-01T00:00:01+00:00", "event": "step_begin", "step": "cpt/train"},
            {"time": "2026-01-01T00:00:02+00:00", "event": "step_done", "step": "cpt/train",
             "identity": "x", "components": {}, "output": "y", "seconds": 1.0, "facts": {}},
            {"time": "2026-01-01T00:00:03+00:00", "event": "failed", "text": "why"},
        ]  # fmt: skip
        metrics = [{"step_name": "cpt/train", "stage": "cpt", "step": n, "loss": 1.0 / n, "lr": 0.1}
                   for n in range(1, 5)]  # fmt: skip
        whole = {
            "events.jsonl": "\n".join(map(json.dumps, events)).encode() + b"\n",
            "metrics.jsonl": "\n".join(map(json.dumps, metrics)).encode() + b"\n",
        }
        trees = {"events.jsonl": events, "metrics.jsonl": metrics}

        def case(rng: random.Random) -> str:
            for name, content in whole.items():
                (run / name).write_bytes(content)
            name = rng.choice(sorted(whole))
            made = changed_bytes(whole[name], rng)
            if rng.random() < 0.6:
                lines = changed_tree(trees[name], rng)
                lines = lines if isinstance(lines, list) else [lines]
                made = "\n".join(map(json.dumps, lines)).encode("utf-8", "surrogatepass")
            (run / name).write_bytes(made)
            ended = []
            for look in (lambda: shown(run, False), lambda: shown(run, True), lambda: again(run)):
                (run / "report.json").unlink(missing_ok=True)
                try:
                    look()
                    ended.append("shown")
                except SamdanError:
                    ended.append("refused")
            return " ".join(ended)

        yield case


@contextmanager
def requests() -> Iterator[Case]:
    """Whatever is sent, the page answers with a documented status or closes, and goes on."""
    from judged import make_run
    from samdan.judge.server import Listening, Session
    from samdan.judge.store import Votes
    from samdan.pages import guard, listening
    from samdan.pages.guard import Rate
    from samdan.run.judging import judged

    allowed, Rate.allows = Rate.allows, lambda *_: True  # type: ignore[method-assign]
    waits = listening.MAX_HEAD_SECONDS, guard.MAX_BODY_SECONDS
    listening.MAX_HEAD_SECONDS, guard.MAX_BODY_SECONDS = 0.3, 0.3  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as folder:
        found = judged(make_run(Path(folder) / "run", 3), ["sft", "dpo"])
        with Votes(found.ledger.votes()) as opened:
            session = Session("a", found.pairs, opened, lambda: found.summary(opened))
            server = Listening(session, "127.0.0.1", 0)
            thread = threading.Thread(target=server.serve, daemon=True)
            thread.start()
            try:
                yield lambda rng: _request(rng, server.port, session.token, found.pairs[0].id)
            finally:
                server.stop()
                thread.join(60)
                Rate.allows = allowed  # type: ignore[method-assign]
                listening.MAX_HEAD_SECONDS, guard.MAX_BODY_SECONDS = waits  # type: ignore[misc]


def _request(rng: random.Random, port: int, token: str, pair: str) -> str:
    body: Any = {"rater": "kim", "pair": pair, "choice": "left", "seconds": 1.5}
    raw = json.dumps(changed_tree(body, rng) if rng.random() < 0.7 else body)
    content = raw.encode("utf-8", "surrogatepass")
    path = rng.choice(("/next", "/vote", "/withdraw", "/results", f"/?token={token}", "/x"))
    head = (
        f"{rng.choice(('POST', 'POST', 'GET', 'PUT'))} {path} HTTP/1.1\r\n"
        f"Host: 127.0.0.1:{port}\r\nX-Samdan-Token: {token}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    ).encode()
    sent = head + content
    if rng.random() < 0.5:
        sent = changed_bytes(sent, rng)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        try:
            connection.sendall(sent)
            answer = connection.makefile("rb").read(200_000)
        except ConnectionError:
            answer = b""
    if not answer:
        return "closed"
    status = int(answer.split(b" ", 2)[1])
    if status not in DOCUMENTED:
        raise Wrong(f"status {status} to {sent!r}")
    if b"Traceback" in answer or b'File "' in answer:
        raise Wrong(f"a traceback to {sent!r}")
    if rng.random() < 0.02:
        _still_serves(port, token)
    return str(status)


def _still_serves(port: int, token: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", f"/?token={token}")
    if connection.getresponse().status != 200:
        raise Wrong("the page is not served any more")
    connection.close()


def _plain(node: Any) -> Any:
    return json.loads(json.dumps(node, default=str))


# The number of cases of one ``make fuzz``; 22,100 together.
TARGETS: dict[str, tuple[Target, int]] = {
    "recipe": (recipes, 6000),
    "file": (files, 4000),
    "rows": (rows, 4000),
    "template": (templates, 2500),
    "checkpoint": (checkpoints, 1500),
    "model": (models, 600),
    "run": (run_folders, 1500),
    "request": (requests, 2000),
}
