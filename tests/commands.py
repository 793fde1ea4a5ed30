"""The commands that documentation shows, as lists of words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "README.ko.md", *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`((?:samdan|python -m|make) [^`]+)`")
SHELL = ("", "sh", "bash", "console")
PROGRAMS = ("samdan", "python", "make")


@dataclass(frozen=True)
class Command:
    page: str
    words: tuple[str, ...]
    inline: bool
    """In a sentence, where arguments may be missing."""

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.words)}"


def lines_of(block: str) -> Iterator[str]:
    """A block's lines, continued ones joined; of a console only what is typed."""
    lines = block.replace("\\\n", " ").splitlines()
    typed = [line[2:] for line in lines if line.startswith("$ ")]
    yield from typed or lines


def simple(line: str) -> Iterator[tuple[str, ...]]:
    """The simple commands of a line: loops, pipes and variables in front are taken off."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set(";&|"):
            while words and (words[0] in ("do", "then", "done") or "=" in words[0]):
                words = words[1:]
            if words:
                yield tuple(words)
            words = []
        else:
            words.append(word)


def commands() -> list[Command]:
    found: list[Command] = []
    for page in PAGES:
        text = page.read_text("utf-8")
        name = page.relative_to(ROOT).as_posix()
        for language, block in FENCE.findall(text):
            if language not in SHELL:
                continue
            for line in lines_of(block):
                if any(line.strip().startswith((f"{p} ", "for ", "$")) or f" {p} " in line
                       for p in PROGRAMS):  # fmt: skip
                    found += [Command(name, w, False) for w in _simple_or_none(line)
                              if w[0] in PROGRAMS]  # fmt: skip
        for shown in INLINE.findall(FENCE.sub("", text)):
            words = next(simple(shown.replace("\n", " ")), ())
            if words:
                found.append(Command(name, words, True))
    return found


def _simple_or_none(line: str) -> list[tuple[str, ...]]:
    """None where the line is the output of a program or a drawing, which no shell could read."""
    try:
        return list(simple(line))
    except ValueError:
        return []
