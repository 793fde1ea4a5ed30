"""`samdan vocab report`: what tokenizers make of the same text, and what new tokens would save."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

from samdan.data.formats import records
from samdan.data.store import texts_of
from samdan.data.views import view_of
from samdan.filters.language import KOREAN_SHARE, decided
from samdan.grow.vocabulary import grow_vocabulary
from samdan.grow.words import chunks
from samdan.growing import Vocab
from samdan.growing.saving import CPT_TOKENS, Size, break_even, saved
from samdan.lm.tokenizer import load_tokenizer, text_encoder
from samdan.recipe import Source
from samdan.records import DataError, Drop, SamdanError

SYLLABLES = [chr(code) for code in range(0xAC00, 0xD7A4)]
HANGUL_WORD = re.compile(r"[가-힣]{2,}")
HELD_OUT = 20  # with an extension, one document of so many is measured and not learned
OFTEN = 5  # a word that is shown among the most split ones occurs so often
SHOWN = 8
TOGETHER = 256
OTHER = "other"
SMALL = 0.02


@dataclass(frozen=True)
class Asked:
    """What the report is about. ``extend``: how the first tokenizer is extended, if it is."""

    tokenizers: tuple[str, ...]
    texts: tuple[str, ...]
    learn: tuple[str, ...] = ()
    extend: Vocab | None = None
    max_chars: int = 20_000_000
    cpt_tokens: int = CPT_TOKENS


@dataclass
class Measured:
    """One tokenizer on all texts, by (source, language)."""

    name: str
    vocabulary: int
    syllables: int
    """Of the 11,172 Hangul syllables, how many are one token."""
    sizes: dict[tuple[str, str], Size] = field(default_factory=dict)
    single: float = 0.0
    """Share of the texts' Hangul syllables that have a token of their own."""
    split: list[tuple[str, int, int]] = field(default_factory=list)
    """Frequent words of the most tokens: word, tokens, how often."""


def report(asked: Asked, say: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Everything that the command shows, as JSON can say it. Raises DataError."""
    tokenizers = {name: _load(name) for name in asked.tokenizers}
    held: frozenset[str] = frozenset()
    learned: dict[str, Any] = {}
    if asked.extend is not None:
        first = asked.tokenizers[0]
        sources = asked.learn or asked.texts
        held = frozenset(sources)
        say(f"learning up to {asked.extend.merges} merges on {', '.join(map(_label, sources))}")
        made = grow_vocabulary(
            tokenizers[first], lambda: _learned_texts(sources, asked.max_chars), asked.extend
        )
        count = len(made.learned.new)
        tokenizers = {first: tokenizers[first], f"{first} + {count}": made.tokenizer, **tokenizers}
        learned = {
            "new_tokens": count,
            "characters": made.chars,
            "rarest": min((merge.count for merge in made.learned.merges), default=0),
            "tokens": [token.decode(errors="replace") for token in made.learned.new.values()],
        }
    texts = _Texts(asked.texts, held, asked.max_chars)
    measured = [_measure(name, tokenizer, texts) for name, tokenizer in tokenizers.items()]
    return _as_json(measured, texts, asked) | ({"learned": learned} if learned else {})


class _Texts:
    """What is measured: documents by source and language, and how often words occur."""

    def __init__(self, paths: Sequence[str], held: frozenset[str], max_chars: int) -> None:
        self.groups: dict[tuple[str, str], list[str]] = {}
        words: Counter[str] = Counter()
        self.syllables: Counter[str] = Counter()
        for path in paths:
            for text in read_texts(path, max_chars):
                if path in held and not is_held_out(text):
                    continue
                self.groups.setdefault((_label(path), language(text)), []).append(text)
                words.update(HANGUL_WORD.findall(text))
                self.syllables.update(char for char in text if "가" <= char <= "힣")
        if not self.groups:
            raise DataError(f"--text {' '.join(paths)}: holds no text")
        self._gather_small()
        self.words = {word: count for word, count in words.items() if count >= OFTEN}


    def _gather_small(self) -> None:
        """A language of next to no text in a source is a page of names or code: ``other``."""
        sizes = {group: sum(map(len, texts)) for group, texts in self.groups.items()}
        for source, code in list(self.groups):
            whole = sum(size for (name, _), size in sizes.items() if name == source)
            if sizes[source, code] < SMALL * whole and code != OTHER:
                self.groups.setdefault((source, OTHER), []).extend(self.groups.pop((source, code)))


def read_texts(path: str, max_chars: int) -> Iterator[str]:
    """The documents of a file, folder or glob, up to about ``max_chars`` characters."""
    size = 0
    for record in records("cpt", Source(path=path)):
        if isinstance(record, Drop):
            continue
        for text in texts_of(record):
            yield text
            size += len(text)
        if size >= max_chars:
            return


def is_held_out(text: str) -> bool:
    """One document of twenty, by its content: it is measured, and not learned on."""
    digest = hashlib.sha256(text.encode(errors="replace")).digest()
    return int.from_bytes(digest[:4], "big") % HELD_OUT == 0


def _learned_texts(paths: Sequence[str], max_chars: int) -> Iterator[str]:
    texts = chain.from_iterable(read_texts(path, max_chars) for path in paths)
    return (text for text in texts if not is_held_out(text))


def language(text: str) -> str:
    """As the filters tell it; without the detector's library, Korean or ``other``."""
    view = view_of(text, morphemes=False)
    code = decided(view.scripts, KOREAN_SHARE)
    if code is None:
        code = view.detected if find_spec("py3langid") else OTHER
    return code


def _load(name: str) -> Any:
    path = Path(name).expanduser()
    try:
        return load_tokenizer(str(path.resolve()) if path.exists() else name)
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise DataError(f"{name}: cannot be loaded as a tokenizer: {first}") from None


def _measure(name: str, tokenizer: Any, texts: _Texts) -> Measured:
    encoder = text_encoder(tokenizer)
    own = _own_syllables(tokenizer)
    found = Measured(name, len(tokenizer), len(own))
    for group, documents in texts.groups.items():
        size = Size()
        for start in range(0, len(documents), TOGETHER):
            batch = documents[start : start + TOGETHER]
            parts = [part for text in batch for part in chunks(text)]
            encodings = encoder.encode_batch_fast(parts, add_special_tokens=False)
            size += Size(
                len(batch),
                sum(map(len, batch)),
                sum(len(text.split()) for text in batch),
                sum(len(text.encode(errors="replace")) for text in batch),
                sum(len(encoding.ids) for encoding in encodings),
            )
        found.sizes[group] = size
    total = sum(texts.syllables.values())
    mine = sum(count for syllable, count in texts.syllables.items() if syllable in own)
    found.single = mine / total if total else 0.0
    found.split = _most_split(encoder, texts.words)
    return found


def _own_syllables(tokenizer: Any) -> set[str]:
    """Syllables that are one token, whichever way the vocabulary spells them."""
    known = tokenizer.get_vocab()
    decoded = {
        text
        for text in tokenizer.batch_decode(
            [[number] for token, number in known.items() if len(token) in (1, 3)]
        )
        if len(text) == 1
    }
    return {syllable for syllable in SYLLABLES if syllable in known or syllable in decoded}


def _most_split(encoder: Any, words: Mapping[str, int]) -> list[tuple[str, int, int]]:
    listed = sorted(words)
    encodings = encoder.encode_batch_fast([f" {word}" for word in listed], add_special_tokens=False)
    lengths = [len(encoding.ids) for encoding in encodings]
    rows = [(w, n, words[w]) for w, n in zip(listed, lengths, strict=True)]
    rows.sort(key=lambda row: (-row[1] / len(row[0]), -row[2], row[0]))
    return rows[:SHOWN]


def _as_json(measured: Sequence[Measured], texts: _Texts, asked: Asked) -> dict[str, Any]:
    first = measured[0]
    languages = sorted({language for _, language in texts.groups})
    tokenizers = []
    for one in measured:
        groups = []
        for (source, code), size in one.sizes.items():
            groups.append(
                {"source": source, "language": code}
                | asdict(size)
                | {f"per_{what}": size.per(what) for what in ("chars", "words", "bytes")}
                | {"saved": saved(first.sizes[source, code], size)}
            )
        by_language = {}
        for code in languages:
            mine = sum((s for (_, c), s in one.sizes.items() if c == code), Size())
            theirs = sum((s for (_, c), s in first.sizes.items() if c == code), Size())
            share = saved(theirs, mine)
            even = break_even(share, asked.cpt_tokens)
            by_language[code] = asdict(mine) | {
                "saved": share,
                "break_even": {"served": even[0], "trained": even[1]} if even else None,
            }
        tokenizers.append(
            {
                "name": one.name,
                "vocabulary": one.vocabulary,
                "hangul_syllables": one.syllables,
                "single_token_hangul": one.single,
                "groups": groups,
                "languages": by_language,
                "most_split": [list(row) for row in one.split],
            }
        )
    return {"cpt_tokens": asked.cpt_tokens, "tokenizers": tokenizers}


def _label(path: str) -> str:
    try:
        return Source(path=path).label
    except SamdanError:
        return path


def lines_of(found: Mapping[str, Any]) -> Iterator[str]:
    """The report for a terminal."""
    first = found["tokenizers"][0]
    for one in found["tokenizers"]:
        yield (
            f"{one['name']}: {one['vocabulary']:,} tokens; {one['hangul_syllables']:,} of 11,172 "
            f"Hangul syllables are one token, {one['single_token_hangul']:.1%} of those in the text"
        )
        yield f"  {'source':20}  language  tokens        /char   /word   /byte   against first"
        for row in one["groups"]:
            change = f"{-row['saved'] + 0.0:+.1%}" if one is not first else ""
            yield (
                f"  {row['source'][:20]:20}  {row['language']:8}  {row['tokens']:<12,}  "
                f"{row['per_chars']:<6.3f}  {row['per_words']:<6.2f}  {row['per_bytes']:<6.3f}  "
                f"{change}"
            )
        if one["most_split"]:
            shown = (f"{word} {tokens} ({times}x)" for word, tokens, times in one["most_split"])
            yield f"  most split: {', '.join(shown)}"
        for code, row in one["languages"].items():
            if one is not first and row["break_even"]:
                even = row["break_even"]
                yield (
                    f"  break-even in {code}: {found['cpt_tokens']:,} tokens of training are paid "
                    f"back after {_short(even['served'])} tokens served, or "
                    f"{_short(even['trained'])} trained"
                )
        yield ""
    if "learned" in found:
        learned = found["learned"]
        yield (
            f"learned {learned['new_tokens']:,} tokens on {learned['characters']:,} characters; "
            f"the rarest merge occurred {learned['rarest']} times"
        )


def _short(tokens: float) -> str:
    for size, name in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if tokens >= size:
            return f"{tokens / size:.1f} {name}"
    return f"{tokens:,.0f}"
