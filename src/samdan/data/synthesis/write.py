"""Output: rows with their lineage, what was dropped beside them, a summary whose accounts fit."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

from samdan import __version__
from samdan.records import DataError, EnvironmentFailure

SOURCE: Final = "synthetic"


def beside(out: Path, name: str) -> Path:
    """A file that goes with an output: ``OUT.dropped.jsonl``, ``OUT.summary.json``."""
    return out.with_name(f"{out.name}.{name}")


class Output:
    """Takes rows; the files appear whole, when ``finish`` is called, or not at all."""

    def __init__(self, out: Path) -> None:
        """Raises DataError when the place holds something that is not ours."""
        self.out = out
        self.kept = 0
        self.dropped: Counter[str] = Counter()
        _refuse_foreign(out)
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            self._rows = _draft(out).open("w", encoding="utf-8")
            self._drops = _draft(beside(out, "dropped.jsonl")).open("w", encoding="utf-8")
        except OSError as error:
            raise EnvironmentFailure(f"--out {out}: cannot be written: {error.strerror}") from None

    def __enter__(self) -> Output:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._rows.close()
        self._drops.close()
        for path in (self.out, beside(self.out, "dropped.jsonl")):
            _draft(path).unlink(missing_ok=True)

    def keep(self, text: str, lineage: Mapping[str, Any]) -> None:
        self.kept += 1
        _write(self._rows, {"text": text, "source": SOURCE, "lineage": lineage})

    def drop(self, reason: str, text: str, lineage: Mapping[str, Any], detail: str = "") -> None:
        self.dropped[reason] += 1
        row = {"reason": reason, "detail": detail, "text": text, "lineage": lineage}
        _write(self._drops, row)

    def finish(self, facts: Mapping[str, Any], asked: int) -> dict[str, Any]:
        """Puts the files in place; ``asked`` is how many texts there should have been.

        Returns the summary. Raises AssertionError when a text was lost on the way.
        """
        lost = asked - self.kept - self.dropped.total()
        assert not lost, f"{asked} texts in, {self.kept} out, {self.dropped.total()} dropped"
        summary = {
            "samdan": __version__,
            "in": asked,
            "out": self.kept,
            "dropped": dict(sorted(self.dropped.items())),
            **facts,
        }
        for stream in (self._rows, self._drops):
            stream.flush()
            os.fsync(stream.fileno())
            stream.close()
        target = beside(self.out, "summary.json")
        text = json.dumps(summary, ensure_ascii=False, indent=1) + "\n"
        _draft(target).write_text(text, "utf-8")
        for path in (beside(self.out, "dropped.jsonl"), self.out, target):
            _draft(path).replace(path)
        return summary


def _draft(path: Path) -> Path:
    return path.with_name(path.name + ".draft")


def _write(stream: IO[str], row: Mapping[str, Any]) -> None:
    stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def _refuse_foreign(out: Path) -> None:
    """An output is written again; another file of that name is not overwritten."""
    if out.is_dir():
        raise DataError(f"--out {out}: is a folder; expected a file such as synthetic.jsonl")
    if out.suffix != ".jsonl":
        raise DataError(f"--out {out}: expected a name that ends in .jsonl")
    if not out.exists():
        return
    with out.open("rb") as opened:
        line = opened.readline(1_000_000)
    try:
        row = json.loads(line) if line.strip() else {"lineage": {}}
    except ValueError:
        row = {}
    if not isinstance(row, dict) or "lineage" not in row:
        raise DataError(f"--out {out}: exists and was not written by samdan synthesize")
