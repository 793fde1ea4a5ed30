"""The votes of a run, in SQLite: rows are added and never changed, which the database enforces.

A vote is taken back by a further row. Pairs are kept with their texts, so that a vote can be read
when the models are gone.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from samdan.lm.files import open_regular
from samdan.preferences.votes import By, Choice, Pair, Side, Vote
from samdan.records import DataError, EnvironmentFailure

VERSION: Final = 1
Said = Literal["a", "b", "tie", "bad", "withdrawn"]

_TABLES: Final = """
CREATE TABLE pairs (
  id TEXT PRIMARY KEY NOT NULL, prompt TEXT NOT NULL, a TEXT NOT NULL, b TEXT NOT NULL,
  answer_a TEXT NOT NULL, answer_b TEXT NOT NULL, source TEXT NOT NULL, added_at TEXT NOT NULL);
CREATE TABLE votes (
  id INTEGER PRIMARY KEY AUTOINCREMENT, pair TEXT NOT NULL REFERENCES pairs (id),
  rater TEXT NOT NULL, cast_by TEXT NOT NULL CHECK (cast_by IN ('person', 'model')),
  choice TEXT NOT NULL CHECK (choice IN ('a', 'b', 'tie', 'bad', 'withdrawn')),
  first TEXT NOT NULL CHECK (first IN ('a', 'b')), seconds REAL, said TEXT NOT NULL DEFAULT '',
  cast_at TEXT NOT NULL);
CREATE INDEX votes_by_rater ON votes (rater, pair);
CREATE TABLE facts (name TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL);
"""
_ONLY_ADDED: Final = """
CREATE TRIGGER {table}_{verb} BEFORE {verb} ON {table}
BEGIN SELECT RAISE(ABORT, '{table}: rows are added and never changed'); END;
"""
# INSERT OR REPLACE deletes without asking the trigger above.
_NOT_REPLACED: Final = """
CREATE TRIGGER {table}_replace BEFORE INSERT ON {table}
WHEN EXISTS (SELECT 1 FROM {table} WHERE {key} = NEW.{key})
BEGIN SELECT RAISE(ABORT, '{table}: rows are added and never changed'); END;
"""
_KEYS: Final = {"pairs": "id", "votes": "id", "facts": "name"}


class Votes:
    """Opens or makes the file of votes; may be used by several threads and processes."""

    def __init__(self, path: Path, read_only: bool = False) -> None:
        """Raises EnvironmentFailure when it cannot be opened, DataError when it is none of ours.

        A file from elsewhere may hold views and triggers that never end or that invent votes, so
        its tables have to be ours to the letter.
        """
        self.path = path
        self._lock = threading.Lock()
        try:
            if not read_only:
                path.parent.mkdir(parents=True, exist_ok=True)
                _private(path)
            _require_file(path)
            # Not mode=ro: it could not roll back what a crash left half written.
            source = f"{path.resolve().as_uri()}?mode=rw"
            self._file = sqlite3.connect(source, uri=True, check_same_thread=False, timeout=30)
            self._file.isolation_level = None  # transactions are begun by hand
            self._file.execute("PRAGMA trusted_schema = OFF")
            if read_only:
                self._file.execute("PRAGMA query_only = ON")
            else:
                self._file.execute("PRAGMA foreign_keys = ON")
                self._file.execute("PRAGMA synchronous = FULL")
                self._create()
            (version,) = self._file.execute("PRAGMA user_version").fetchone()
            tables = _tables(self._file)
        except (sqlite3.DatabaseError, OSError) as error:
            raise EnvironmentFailure(f"{path}: cannot be used for votes: {error}") from None
        if version != VERSION:
            raise DataError(f"{path}: found version {version} of votes, expected {VERSION}")
        if tables != _OWN:
            raise DataError(f"{path}: its tables are not those that samdan makes")

    def _create(self) -> None:
        with self._transaction():
            (version,) = self._file.execute("PRAGMA user_version").fetchone()
            (tables,) = self._file.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if version or tables:
                return
            _make(self._file)
            secret = secrets.token_bytes(32)
            self._file.execute("INSERT INTO facts VALUES ('secret', ?)", (secret,))
            self._file.execute(f"PRAGMA user_version = {VERSION}")

    def __enter__(self) -> Votes:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._file.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, self._whole():
            self._file.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._file.execute("ROLLBACK")
                raise
            self._file.execute("COMMIT")

    @contextmanager
    def _whole(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:  # locked for too long, a full disk
            raise EnvironmentFailure(f"{self.path}: cannot be used for votes: {error}") from None
        except sqlite3.IntegrityError:  # a rule of the tables: for whoever broke it
            raise
        except sqlite3.DatabaseError as error:
            raise DataError(f"{self.path}: damaged: {error}") from None

    def _rows(self, query: str, values: Sequence[str] = ()) -> list[tuple]:  # type: ignore[type-arg]
        with self._lock, self._whole():
            return self._file.execute(query, values).fetchall()

    @property
    def secret(self) -> bytes:
        """What the sides are drawn with; made with the file."""
        return bytes(self._rows("SELECT value FROM facts WHERE name = 'secret'")[0][0])

    def add_pairs(self, pairs: Iterable[Pair]) -> None:
        """Keeps the texts of pairs that are not kept yet."""
        known = {name for (name,) in self._rows("SELECT id FROM pairs")}
        rows = [
            (name, p.prompt, p.a, p.b, p.answer_a, p.answer_b, p.source, _now())
            for name, p in {pair.id: pair for pair in pairs}.items()
            if name not in known
        ]
        with self._transaction():
            for row in rows:
                # Another process may have added it meanwhile.
                self._file.execute(
                    "INSERT INTO pairs SELECT ?, ?, ?, ?, ?, ?, ?, ? "
                    "WHERE NOT EXISTS (SELECT 1 FROM pairs WHERE id = ?)",
                    (*[_storable(value) for value in row], row[0]),
                )

    def cast(self, vote: Vote, seconds: float | None = None, said: str = "") -> bool:
        """Adds a vote, but not when this rater has voted on the pair (and order) before.

        ``said``: a judging model's own words. Returns whether it was added.
        """
        with self._transaction():
            if self._has(vote):
                return False
            self._insert(vote, vote.choice, seconds, said)
            return True

    def withdraw(self, pair: str, rater: str) -> bool:
        """Takes a person's vote back; returns False when there is none that counts."""
        with self._transaction():
            last = self._file.execute(
                "SELECT choice, first FROM votes WHERE pair = ? AND rater = ? AND "
                "cast_by = 'person' ORDER BY id DESC LIMIT 1",
                (pair, rater),
            ).fetchone()
            if last is None or last[0] == "withdrawn":
                return False
            self._insert(Vote(pair, rater, "tie", last[1]), "withdrawn", None, "")
            return True

    def _has(self, vote: Vote) -> bool:
        order = " AND first = ?" if vote.by == "model" else ""
        values = [vote.pair, vote.rater, vote.by, *([vote.left] if order else [])]
        query = f"SELECT 1 FROM votes WHERE pair = ? AND rater = ? AND cast_by = ?{order} LIMIT 1"
        return self._file.execute(query, values).fetchone() is not None

    def _insert(self, vote: Vote, choice: Said, seconds: float | None, said: str) -> None:
        self._file.execute(
            "INSERT INTO votes (pair, rater, cast_by, choice, first, seconds, said, cast_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (vote.pair, vote.rater, vote.by, choice, vote.left, seconds, _storable(said), _now()),
        )

    def seen_by(self, rater: str) -> dict[str, Said]:
        """What a person said last on every pair that was shown and answered."""
        query = "SELECT pair, choice FROM votes WHERE rater = ? AND cast_by = 'person' ORDER BY id"
        return dict(self._rows(query, (rater,)))

    def counting(self) -> list[Vote]:
        """The votes that count: the last of every rater on a pair (and order), not withdrawn."""
        last: dict[tuple[str, str, By, Side | None], tuple[Said, Side]] = {}
        query = "SELECT pair, rater, cast_by, choice, first FROM votes ORDER BY id"
        for pair, rater, by, choice, first in self._rows(query):
            last[pair, rater, by, first if by == "model" else None] = (choice, first)
        return [
            Vote(pair, rater, _counted(choice), first, by)
            for (pair, rater, by, _), (choice, first) in last.items()
            if choice != "withdrawn"
        ]

    def pairs(self) -> dict[str, Pair]:
        """Every pair that was ever shown, by its id."""
        query = "SELECT id, prompt, a, b, answer_a, answer_b, source FROM pairs ORDER BY rowid"
        return {name: Pair(*rest) for name, *rest in self._rows(query)}


def _make(file: sqlite3.Connection) -> None:
    statements = [text for text in _TABLES.split(";") if text.strip()]
    for table, key in _KEYS.items():
        statements += [
            _ONLY_ADDED.format(table=table, verb="UPDATE"),
            _ONLY_ADDED.format(table=table, verb="DELETE"),
            _NOT_REPLACED.format(table=table, key=key),
        ]
    for statement in statements:
        file.execute(statement)


def _tables(file: sqlite3.Connection) -> frozenset[tuple[str, str, str]]:
    return frozenset(file.execute("SELECT type, name, sql FROM sqlite_master WHERE sql NOT NULL"))


def _own_tables() -> frozenset[tuple[str, str, str]]:
    with closing(sqlite3.connect(":memory:")) as file:
        _make(file)
        return _tables(file)


_OWN: Final = _own_tables()


def _require_file(path: Path) -> None:
    """No link, which would lead to another run's votes or out of the run, and no pipe."""
    with open_regular(path, follow=False):
        pass


def _private(path: Path) -> None:
    """Made for its owner alone: it holds the names of the raters. SQLite's journal follows it."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))


def _counted(choice: Said) -> Choice:
    assert choice != "withdrawn"
    return choice


def _storable(value: str) -> str:
    """SQLite takes UTF-8 only; a broken tokenizer may answer with lone surrogates."""
    return value.encode("utf-8", "replace").decode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
