"""What the lines of a text are (code, structure, prose), and how many documents share a line.

Counting takes two phases, so that any number of workers can share it: ``line_counts`` per part of
the corpus, ``merged`` in any order, then ``frequent_lines`` on the whole. A line is known by 64
bits of BLAKE2b: among a billion different lines two meet by chance in one corpus of 40, and the
harm is a line that is counted too often.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from hashlib import blake2b
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from samdan.cleaning import FrequentLines

Hashes = NDArray[np.uint64]

# An opening fence, also quoted or in a list. Full-width forms are there because they become ASCII.
# Five and more tildes underline a heading in reStructuredText.
FENCE: Final = re.compile("[-\\s>＞*＊+＋－]*(`{3,}(?=[^`]*$)|~{3,4}(?!~))")
INDENTS: Final = ("    ", "\t")
# Lines that are a document's skeleton, or whose meaning lies in where they stand: headings, tables,
# lists, quotes, markup, links, attributes, anything that ends in a colon or opens a bracket.
STRUCTURE: Final = re.compile(
    r"[#|>*+\-=_~`<{}\[\]()!/@:.$%&\\【〔①-⑳㉠-㉻ⓐ-ⓩ□■○●◦▪▶※∙•·]|(?:\d{1,3}|[가-하])[.)]\s"
    r"|\w[\w .-]{0,40}:\s|.*[:{(;,]$"
)
# Documents that are programs have no fences: without this, `import torch` would be furniture.
PROGRAM: Final = re.compile(
    r"(?:import|from|package|using|include|def|class|return|const|let|var|public|private|static|if|for"
    r"|while|else|try|cargo|npm|yarn|pip|git|docker|sudo|cd)\b|.*(?:[={};]|[A-Za-z0-9_\])]\(|->|::|</)"
)
CHUNK: Final = 1 << 20  # hashes held before they are sorted into the counts


def code_lines(lines: Sequence[str]) -> list[bool]:
    """Which lines are code: fenced, or indented by four after a blank line.

    A fence that is never closed reaches to the end, as in CommonMark. Only what stands before a
    line decides about it.
    """
    code = []
    fence, indented, after_blank = "", False, True
    for line in lines:
        if fence:
            code.append(True)
            if _closes(line, fence):
                fence, after_blank = "", False
            continue
        blank = not line.strip()
        found = None if blank else FENCE.match(line)
        if found:
            fence, indented = found[1], False
        elif not blank:
            indented = line.startswith(INDENTS) and (after_blank or indented)
        code.append(found is not None or (indented and not blank))
        after_blank = blank
    return code


def _closes(line: str, fence: str) -> bool:
    inner = line.strip(" \t>＞\u3000\u00a0")
    return len(inner) >= len(fence) and inner == fence[0] * len(inner)


def line_hash(line: str) -> int:
    """64 bits of a line without its outer white space."""
    return int.from_bytes(blake2b(line.strip().encode(), digest_size=8).digest(), "little")


def countable(line: str, spec: FrequentLines) -> bool:
    """Whether a line of prose can be furniture at all: long enough, no structure, no program."""
    inner = line.strip()
    if not spec.min_chars <= len(inner) <= spec.max_chars:
        return False
    return STRUCTURE.match(inner) is None and PROGRAM.match(inner) is None


@dataclass(frozen=True, slots=True)
class LineCounts:
    """In how many of ``documents`` a line stands: 16 bytes for every different line."""

    documents: int
    hashes: Hashes  # sorted, unique
    counts: NDArray[np.int64]


def line_counts(
    texts: Iterable[str], spec: FrequentLines, part: int = 0, parts: int = 1
) -> LineCounts:
    """Document frequencies of the countable lines of cleaned texts.

    Where the lines of a corpus do not fit into memory, count ``parts`` disjoint sets of hashes one
    after the other: exact, and ``frequent_lines`` of the parts together are those of the whole.
    """
    documents = 0

    def hashes() -> Iterator[int]:
        nonlocal documents
        for text in texts:
            documents += 1
            found = {line_hash(line) for line in _countable_lines(text, spec)}
            yield from (value for value in found if value % parts == part)

    stream, sums = hashes(), [LineCounts(0, np.empty(0, np.uint64), np.empty(0, np.int64))]
    while chunk := list(islice(stream, CHUNK)):
        values, counts = np.unique(np.array(chunk, np.uint64), return_counts=True)
        sums.append(LineCounts(0, values, counts.astype(np.int64)))
        # Equals are merged with equals: every hash is moved a logarithmic number of times.
        while len(sums) > 1 and len(sums[-2].hashes) <= 2 * len(sums[-1].hashes):
            sums.append(merged(sums.pop(), sums.pop()))
    total = reduce(merged, sums)
    return LineCounts(documents, total.hashes, total.counts)


def _countable_lines(text: str, spec: FrequentLines) -> Iterator[str]:
    lines = text.split("\n")
    for line, code in zip(lines, code_lines(lines), strict=True):
        if not code and countable(line, spec):
            yield line


def merged(first: LineCounts, second: LineCounts) -> LineCounts:
    """The counts of two sets of documents together; order and grouping do not matter."""
    hashes = np.concatenate([first.hashes, second.hashes])
    order = np.argsort(hashes, kind="stable")
    hashes = hashes[order]
    starts = np.flatnonzero(np.concatenate([[True], hashes[1:] != hashes[:-1]]))[: len(hashes)]
    counts = np.concatenate([first.counts, second.counts])[order]
    summed = np.add.reduceat(counts, starts) if len(hashes) else counts
    return LineCounts(first.documents + second.documents, hashes[starts], summed)


def frequent_lines(counts: LineCounts, spec: FrequentLines) -> Hashes:
    """Hashes, sorted, of the lines that enough documents share."""
    least = max(spec.at_least_documents, spec.at_least_share * counts.documents)
    return counts.hashes[counts.counts >= least]
