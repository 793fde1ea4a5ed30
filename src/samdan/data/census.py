"""What a corpus is made of, counted while it is cleaned: licences, years, scripts, lengths."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from samdan.data.store import texts_of
from samdan.records import Document, Record

UNKNOWN = "unknown"
SCRIPTS = {
    "hangul": re.compile("[가-힣ㄱ-ㆎᄀ-ᇿ]+"),
    "latin": re.compile("[A-Za-zÀ-ɏ]+"),
    "hanja": re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+"),
    "kana": re.compile("[\u3040-\u30ff]+"),
}
LETTER = re.compile(r"[^\W\d_]+")
Counts = dict[str, dict[str, int]]


def census(records: Iterable[Record], licence: str | None) -> Counts:
    """Documents by licence and year, letters by script. ``licence``: of rows that name none."""
    found: dict[str, Counter[str]] = {name: Counter() for name in ("license", "year", "script")}
    for record in records:
        meta = record.meta if isinstance(record, Document) else {}
        found["license"][meta.get("license") or licence or UNKNOWN] += 1
        found["year"][_year(meta)] += 1
        for text in texts_of(record):
            found["script"].update(scripts(text))
    return {name: dict(counts) for name, counts in found.items()}


def scripts(text: str) -> dict[str, int]:
    """Letters by script; what is none of the named ones is ``other``."""
    counts = {name: sum(map(len, pattern.findall(text))) for name, pattern in SCRIPTS.items()}
    letters = sum(map(len, LETTER.findall(text)))
    return counts | {"other": max(0, letters - sum(counts.values()))}


def merged(parts: Sequence[Counts]) -> Counts:
    """The counts of several parts together."""
    found: dict[str, Counter[str]] = {}
    for part in parts:
        for name, counts in part.items():
            found.setdefault(name, Counter()).update(counts)
    return {name: dict(sorted(counts.items())) for name, counts in found.items()}


def length_histogram(lengths: Iterable[int]) -> dict[str, int]:
    """Records by length in tokens, in powers of two: ``"256"`` counts 256 to 511."""
    counts = Counter(1 << max(0, int(length).bit_length() - 1) for length in lengths if length)
    return {str(edge): counts[edge] for edge in sorted(counts)}


def _year(meta: Mapping[str, str]) -> str:
    match = re.match(r"(?:19|20)\d\d", meta.get("date", ""))
    return match[0] if match else UNKNOWN
