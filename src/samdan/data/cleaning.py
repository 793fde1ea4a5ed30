"""Cleans the text of a document: characters, encodings, repetitions, lines that are furniture.

Cleaning twice changes nothing more: passes are made until one changes nothing. Everything that is
changed is counted by name. Code (fenced, or indented by four after a blank line) loses only what
cannot be seen; widths, spaces, repetitions and lines of code stay.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from samdan.cleaning import BoilerplateRule, Cleaning
from samdan.data.boilerplate import marked, settled
from samdan.data.characters import (
    SPACES,
    WIDE,
    keeps_wide_forms,
    narrow,
    plain_spaces,
    visible,
    without_odd_line_ends,
)
from samdan.data.encodings import repaired
from samdan.data.lines import FENCE, Hashes, code_lines, countable, line_hash

# Texts reach their fixed point in two passes, or three; a fourth has been seen in generated ones.
MAX_PASSES: Final = 32
TRAILING: Final = (" \n", "\t\n", "\u3000\n")
JAMO: Final = "ㄱ-ㅎㅏ-ㅣ"
# Rules of Markdown and reStructuredText, underlines of compilers and drawn boxes are no emphasis.
NOT_CAPPED: Final = r"\sA-Za-z0-9\-=_*~#`|+^\"'<>:/\\─-╿" + JAMO


Change = Callable[[str, Counter[str]], str]


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A text and what was changed in it: characters, runs or lines by the name of the change."""

    text: str
    counts: Mapping[str, int]


class Cleaner:
    """Applies a spec to texts; holds nothing but compiled patterns, so workers can share it."""

    def __init__(self, spec: Cleaning, frequent: Hashes | None = None) -> None:
        """``frequent``: hashes of the lines that the corpus shares, from ``frequent_lines``."""
        self.spec = spec
        self.frequent = frozenset(frequent.tolist()) if frequent is not None else frozenset()
        self._jamo = re.compile(rf"([{JAMO}])\1{{{spec.max_jamo_run},}}")
        self._step = (spec.max_char_run + 1) // 4
        self._sampled = re.compile(rf"([^{NOT_CAPPED}])\1{{3}}")
        self._run = re.compile(rf"([^{NOT_CAPPED}])\1{{{spec.max_char_run},}}")
        self._blank = re.compile(rf"\n(?:[^\S\n]*\n){{{spec.max_blank_lines + 1}}}")

    def __call__(self, text: str) -> Cleaned:
        """The cleaned text and the counts of all passes."""
        counts: Counter[str] = Counter()
        for _ in range(MAX_PASSES):
            before, text = text, self._pass(text, counts)
            if text == before:
                break
        return Cleaned(text, {name: n for name, n in sorted(counts.items()) if n})

    def _pass(self, text: str, counts: Counter[str]) -> str:
        text = without_odd_line_ends(text, counts)
        if self.spec.repair_encoding:
            text = repaired(text, counts)
        text = visible(text, counts)
        if not text:
            return text
        changes = self._line_changes(text)
        lines = text.split("\n")
        code = code_lines(lines) if changes or self.frequent else []
        if changes:
            lines = [
                line if is_code else _changed(line, changes, counts)
                for line, is_code in zip(lines, code, strict=True)
            ]
        marks = marked(lines, self.spec.boilerplate)
        if not (changes or marks or self.frequent or self._has_white_ends(text)):
            return text
        code = code or code_lines(lines)
        gone = self._removed(lines, code, marks, counts)
        return self._joined(lines, code, gone, counts)

    def _line_changes(self, text: str) -> list[Change]:
        """The changes of single lines that this text needs."""
        spec = self.spec
        changes: list[Change] = []
        if spec.normalize_width and WIDE.search(text) and not keeps_wide_forms(text):
            changes.append(_narrow_unless_fence)
        if SPACES.search(text):
            changes.append(plain_spaces)
        if changes or self._jamo.search(text):
            changes.append(self._cap_jamo)
        if changes or self._has_run(text):
            changes.append(self._cap_run)
        return changes

    def _cap_jamo(self, line: str, counts: Counter[str]) -> str:
        line, number = self._jamo.subn(lambda m: m[1] * self.spec.max_jamo_run, line)
        counts["jamo_capped"] += number
        return line

    def _cap_run(self, line: str, counts: Counter[str]) -> str:
        line, number = self._run.subn(lambda m: m[1] * self.spec.max_char_run, line)
        counts["run_capped"] += number
        return line

    def _has_run(self, text: str) -> bool:
        # A run that is too long gives four equal characters in a row of every fifth or so: a
        # search of a fifth of the text, and seldom of the whole.
        sample = text[:: self._step]
        return self._sampled.search(sample) is not None and self._run.search(text) is not None

    def _has_white_ends(self, text: str) -> bool:
        return (
            any(end in text for end in TRAILING)
            or text[:1].isspace()
            or text[-2:].isspace()
            or text[-1:] in (" ", "\t", "\u3000")
            or self._blank.search(text) is not None
        )

    def _removed(
        self,
        lines: list[str],
        code: list[bool],
        marks: Mapping[int, BoilerplateRule | None],
        counts: Counter[str],
    ) -> frozenset[int]:
        """Indices of the lines to leave out."""
        gone = set()
        limits = self.spec.frequent_lines
        if self.frequent and limits:
            for index, line in enumerate(lines):
                if not code[index] and countable(line, limits) and line_hash(line) in self.frequent:
                    gone.add(index)
                    counts["frequent_line"] += 1
        others = {index: rule for index, rule in marks.items() if index not in gone}
        rest = ["" if index in gone else line for index, line in enumerate(lines)]
        for index, rule in settled(others, rest, code).items():
            gone.add(index)
            counts[f"boilerplate_{rule}"] += 1
        return frozenset(gone)

    def _joined(
        self, lines: list[str], code: list[bool], gone: frozenset[int], counts: Counter[str]
    ) -> str:
        """The lines that stay, without white space at their ends and without long gaps."""
        most = self.spec.max_blank_lines
        kept: list[str] = []
        blanks, end = most, 0  # a text does not begin with blank lines
        for index, line in enumerate(lines):
            if index in gone:
                continue
            bare = line if code[index] else line.rstrip()
            counts["trailing_space"] += bare != line
            blanks = 0 if bare or code[index] else blanks + 1
            if blanks <= most:
                kept.append(bare)
                end = end if blanks else len(kept)
            else:
                counts["blank_line"] += 1
        # After the last line with something on it: one line end, or none where there was none.
        tail = kept[end : end + 1] if end else []
        counts["blank_line"] += len(kept) - end - len(tail)
        return "\n".join(kept[:end] + tail)


def _changed(line: str, changes: list[Change], counts: Counter[str]) -> str:
    for change in changes:
        line = change(line, counts)
    return line


def _narrow_unless_fence(line: str, counts: Counter[str]) -> str:
    """Three full-width tildes must not open a block of code that nobody wrote."""
    if not WIDE.search(line):
        return line
    found: Counter[str] = Counter()
    changed = narrow(line, found)
    if FENCE.match(changed):
        return line
    counts.update(found)
    return changed
