"""What the defaults of ``Dedup`` and ``Decontaminate`` do to real text: docs/removing.md's numbers.

python -m experiments.removing copies|units|pairs|leaks|edits|short DATA

DATA is a folder with corpus/*.jsonl.gz, sft/*.jsonl.gz and preference/*.jsonl.gz.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from samdan.data.contamination import Item, build_index
from samdan.data.duplicates import duplicates, estimate
from samdan.data.minhash import signatures
from samdan.data.ngrams import U64, ngrams, units_of
from samdan.data.overlaps import contaminated, find
from samdan.data.paragraphs import paragraphs, repeated
from samdan.removing import Decontaminate, Dedup

CORPORA = (
    "ko-law-precedents", "ko-company-egov", "ko-tech-pytorch", "ko-tech-react", "ko-tech-rust",
    "ko-tech-vue", "en-tech-react", "en-tech-rust",
)  # fmt: skip
END = "<|endoftext|>"


def rows(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def corpus(data: Path, name: str) -> list[str]:
    return [row["text"] for row in rows(data / "corpus" / f"{name}.jsonl.gz")]


def dialogues(data: Path) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Name, and (what is asked, the answer) of every row."""
    sft, preference = data / "sft", data / "preference"
    chat = rows(sft / "songys-chatbot.jsonl.gz")
    yield "songys-chatbot", [(r["Q"], r["A"]) for r in chat]
    vaiv = rows(sft / "vaiv-instructions.jsonl.gz")
    asked = [f"{row['instruction']}\n{row['input'] or ''}" for row in vaiv]
    yield "vaiv-instructions", [(a, row["output"]) for a, row in zip(asked, vaiv, strict=True)]
    reading = rows(sft / "korquad-v1-dev.jsonl.gz")
    yield "korquad", [(f"{r['context']}\n{r['question']}", r["answer"]) for r in reading]
    for kind in ("conversation", "hatespeech", "translation"):
        pairs = rows(preference / f"vaiv-{kind}-train.jsonl.gz")
        yield f"vaiv-{kind}", [(r["prompt"], r["chosen"].replace(END, "")) for r in pairs]


def gram_set(text: str, n: int = 5) -> set[int]:
    return set(ngrams(units_of([text]).hashes, n).tolist())


def jaccard(left: set[int], right: set[int]) -> float:
    return len(left & right) / max(1, len(left | right))


# --- copies ---------------------------------------------------------------------------------------


def copies(data: Path) -> None:
    print("| texts | n | MB/s | exact | near | least true Jaccard | band alone would also drop "
          "(true Jaccard) | missed, Jaccard >= 0.8 | lines removed, share |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    spec = Dedup(paragraphs=True)
    sets = [(name, corpus(data, name)) for name in CORPORA]
    sets += [(n, [f"{asked}\n{said}" for asked, said in d]) for n, d in dialogues(data)]
    for name, texts in sets:
        start = time.process_time()
        found = signatures(texts, spec)
        speed = sum(len(t.encode()) for t in texts) / 1e6 / (time.process_time() - start)
        result = duplicates([found], spec)
        near = np.flatnonzero(~result.kept & ~result.exact)
        true = [jaccard(gram_set(texts[i]), gram_set(texts[result.copy_of[i]])) for i in near]
        loose = duplicates([found], Dedup(threshold=1e-6))
        extra = np.flatnonzero(~loose.kept & result.kept)
        wrong = [jaccard(gram_set(texts[i]), gram_set(texts[loose.copy_of[i]])) for i in extra]
        close = _similar_pairs(found.sketch, np.flatnonzero(result.kept))
        missed = sum(jaccard(gram_set(texts[i]), gram_set(texts[j])) >= 0.8 for i, j in close)
        lines = [paragraphs(texts, spec)]
        cut = repeated(lines, spec, result.kept)
        gone = lines[0].letters[cut.first >= 0].sum() / lines[0].totals.sum()
        ranged = f"{min(wrong):.2f} to {max(wrong):.2f}" if wrong else "–"
        print(f"| {name} | {len(texts):,} | {speed:.0f} | {int(result.exact.sum())} | {len(near)} "
              f"| {min(true, default=float('nan')):.2f} | {len(extra)} ({ranged}) | {missed} "
              f"| {int((cut.first >= 0).sum())}, {gone:.2%} |", flush=True)  # fmt: skip


def _similar_pairs(sketch: Any, chosen: Any) -> list[tuple[int, int]]:
    found = []
    for place, i in enumerate(chosen.tolist()):
        later = chosen[place + 1 :]
        close = estimate(sketch[later], sketch[i]) >= 0.7
        found += [(i, int(j)) for j in later[close]]
    return found


def pairs(data: Path) -> None:
    """Pairs of documents around the threshold, to be read."""
    for name in CORPORA:
        texts = corpus(data, name)
        found = signatures(texts, Dedup())
        close = sorted(
            (jaccard(gram_set(texts[i]), gram_set(texts[j])), i, j)
            for i, j in _similar_pairs(found.sketch, np.arange(len(texts)))
        )
        for similarity, i, j in close:
            print(f"{name} {similarity:.3f} {i} {j}\n  {texts[i][:300]!r}\n  {texts[j][:300]!r}")


# --- edits ----------------------------------------------------------------------------------------

Edit = Callable[[str, random.Random], str]


def spacing(text: str, rng: random.Random) -> str:
    return "".join("" if c == " " and rng.random() < 0.3 else c for c in text)


def particles(text: str, rng: random.Random) -> str:
    other = dict(zip("은는이가을를와과", "는은가이를을과와", strict=True))
    return re.sub(
        r"[은는이가을를와과](?=[ \n])",
        lambda m: other[m[0]] if rng.random() < 0.1 else m[0],
        text,
    )


def digits(text: str, rng: random.Random) -> str:
    return re.sub(r"\d", lambda m: str(rng.randrange(10)) if rng.random() < 0.3 else m[0], text)


def typos(text: str, rng: random.Random) -> str:
    return "".join(
        rng.choice("가나다라마") if "가" <= c <= "힣" and rng.random() < 0.01 else c for c in text
    )


def words(text: str, rng: random.Random) -> str:
    parts = text.split(" ")
    return " ".join(rng.choice(parts) if rng.random() < 0.05 else part for part in parts)


def frame(text: str, rng: random.Random) -> str:
    return f"홈 > 자료실 공유하기 인쇄 조회수 {rng.randrange(999)}\n{text}\n무단전재 및 재배포 금지"


EDITS: dict[str, Edit] = {
    "30% of spaces lost": spacing, "10% of particles": particles, "30% of digits": digits,
    "1% of syllables": typos, "5% of words": words, "page header and footer": frame,
}  # fmt: skip


def _words(text: str, n: int) -> U64:
    bare = re.sub(r"[^\w\s]", "", text.lower()).split()
    hashed = [hashlib.blake2b(word.encode(), digest_size=8).digest() for word in bare]
    return ngrams(np.frombuffer(b"".join(hashed), np.uint64), n)


def units(data: Path) -> None:
    """Median Jaccard similarity of a text and its edited copy, by what an n-gram is made of."""
    kinds: dict[str, Callable[[str], U64]] = {
        "5 units": lambda t: ngrams(units_of([t]).hashes, 5),
        "10 units": lambda t: ngrams(units_of([t]).hashes, 10),
        "13 units": lambda t: ngrams(units_of([t]).hashes, 13),
        "3 words": lambda t: _words(t, 3),
        "5 words": lambda t: _words(t, 5),
    }
    for name in CORPORA[:2]:
        sample = random.Random(1).sample(corpus(data, name), 60)
        print(f"\n{name}\n\n| edit | {' | '.join(kinds)} |\n|---|{'---|' * len(kinds)}")
        for edit, change in EDITS.items():
            rng = random.Random(1)
            changed = [change(text, rng) for text in sample]
            cells = [_median(sample, changed, kind) for kind in kinds.values()]
            print(f"| {edit} | {' | '.join(cells)} |")
        cells = [_most_alike(sample, kind) for kind in kinds.values()]
        print(f"| different texts, most alike | {' | '.join(cells)} |", flush=True)


def _median(left: Sequence[str], right: Sequence[str], kind: Callable[[str], U64]) -> str:
    both = zip(left, right, strict=True)
    found = [jaccard(set(kind(a).tolist()), set(kind(b).tolist())) for a, b in both]
    return f"{np.median(found):.2f}"


def _most_alike(texts: Sequence[str], kind: Callable[[str], U64]) -> str:
    sets = [set(kind(text).tolist()) for text in texts]
    return f"{max(jaccard(sets[i], sets[j]) for i in range(len(sets)) for j in range(i)):.2f}"


# --- leaks ----------------------------------------------------------------------------------------


def leaks(data: Path) -> None:
    """A tenth of the precedents as items, the rest as training: what is found, by the settings."""
    texts = corpus(data, CORPORA[0])
    held = [hashlib.sha256(t.encode()).digest()[-1] % 10 == 0 for t in texts]
    items = [Item(str(i), text) for i, text in enumerate(texts) if held[i]]
    train = [i for i in range(len(texts)) if not held[i]]
    for n in (8, 13):
        for most in (10, len(items)):  # without the limit a twentieth of the records takes minutes
            searched = train if most == 10 else train[::20]
            spec = Decontaminate(ngram=n, min_units=8, max_items=most, threshold=0.2)
            index = build_index(items, spec)
            start = time.process_time()
            hits = find(index, [[texts[i]] for i in searched], spec)
            seconds = time.process_time() - start
            best: dict[str, float] = {}
            for hit in hits:
                best[index.ids[hit.part]] = max(best.get(index.ids[hit.part], 0), hit.share)
            counts = {t: sum(s >= t for s in best.values()) for t in (0.2, 0.3, 0.4, 0.5, 0.6, 0.8)}
            speed = sum(len(texts[i].encode()) for i in searched) / 1e6 / seconds
            print(f"n={n} max_items={most}: {len(searched)} records, {len(items)} items, "
                  f"{len(index.hashes):,} n-grams, {speed:.1f} MB/s, "
                  f"items with a share of at least: {counts}", flush=True)  # fmt: skip
    spec = Decontaminate()
    index = build_index(items, spec)
    for record, hit in contaminated(find(index, [[texts[i]] for i in train], spec), spec).items():
        print(f"  item {index.ids[hit.part]} record {train[record]} share {hit.share:.2f} "
              f"text {hit.text_share:.2f} {hit.example}")  # fmt: skip


def edits(data: Path) -> None:
    """Share of planted items that are found, by edit, and of unrelated text that hits."""
    reading = rows(data / "sft" / "korquad-v1-dev.jsonl.gz")
    english = " ".join(corpus(data, "en-tech-rust")).replace("\n", " ").split(". ")
    kinds = {
        "KorQuAD questions": sorted({r["question"] for r in reading})[::4],
        "vaiv prompts": [q for q, _ in dict(dialogues(data))["vaiv-translation"]],
        "English sentences": [s.strip() for s in english if 60 < len(s) < 160][:600],
    }
    spec = Decontaminate()
    for name, keys in kinds.items():
        index = build_index([Item(str(i), key) for i, key in enumerate(keys)], spec)
        looked = index.lengths > 0
        print(f"\n{name}: {len(keys)}, {looked.mean():.1%} can be looked for")
        for edit, change in {"verbatim": lambda t, r: t, **EDITS, "first half": _half}.items():
            rng = random.Random(3)
            planted = [[f"앞에 오는 글. {change(key, rng)} 뒤에 오는 글."] for key in keys]
            hits = find(index, planted, spec)
            found = {h.part for h in hits if h.record == h.part and h.share >= spec.threshold}
            print(f"  {edit}: {len(found) / looked.sum():.3f}")
        for other in ("ko-law-precedents", "ko-company-egov", "en-tech-react"):
            hits = find(index, [[text] for text in corpus(data, other)], spec)
            parts = {h.part for h in contaminated(hits, spec).values()}
            examples = [keys[part] for part in sorted(parts)[:3]]
            print(f"  found in {other}: {len(parts)} {examples}", flush=True)


def _half(text: str, rng: random.Random) -> str:
    return text[: len(text) // 2]


def short(data: Path) -> None:
    """Of short sentences, by their units: the share that unrelated text contains by chance."""
    chat = dict(dialogues(data))["songys-chatbot"]
    keys = sorted({text for pair in chat for text in pair})
    others = {name: corpus(data, name) for name in CORPORA[:2]}
    others["vaiv answers"] = [said for _, said in dict(dialogues(data))["vaiv-instructions"]]
    counts = units_of(keys).counts
    print(f"| units | {' | '.join(others)} |\n|---|{'---|' * len(others)}")
    for n in range(3, 13):
        whole = [key for key, count in zip(keys, counts.tolist(), strict=True) if count == n]
        wanted = {int(ngrams(units_of([key]).hashes, n)[0]) for key in whole}
        cells = []
        for texts in others.values():
            seen = set[int]().union(*(wanted & gram_set(text, n) for text in texts))
            cells.append(f"{len(seen) / len(wanted):.2%}")
        print(f"| {n} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    {"copies": copies, "units": units, "pairs": pairs, "leaks": leaks, "edits": edits,
     "short": short}[sys.argv[1]](Path(sys.argv[2]))  # fmt: skip
