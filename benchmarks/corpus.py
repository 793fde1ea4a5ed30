"""Text of any size to prepare: real or generated documents, repeated with seeded edits.

Every document of every pass is edited alike: its place is drawn, and a part of its words is
replaced by other words of the same document. So a corpus of any size is of one kind, and holds no
copies but those that were planted.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from unicodedata import normalize

EDITED = 0.25  # of the words: two edits of one document share about a third of their 5-grams
COPY_EDITED = 0.004  # of the words of a planted near copy
FILE_BYTES = 8_000_000
SPACES = re.compile(r"(\s+)")
SEED_WORLD = 1
TOGETHER = 8  # generated documents in one text: alone they are a few sentences


def shared_data(root: Path) -> Path | None:
    """The real data that lies beside the checkout, if it does."""
    folder = root.parent / "shared" / "data"
    return folder if folder.is_dir() else None


def originals(data: Path | None) -> list[str]:
    """The Korean texts of ``data/corpus``; without it those of the demo's world."""
    if data is not None:
        found: list[str] = []
        for path in sorted((data / "corpus").glob("ko-*.jsonl.gz")):
            with gzip.open(path, "rt", encoding="utf-8") as opened:
                found += [normalize("NFC", json.loads(line)["text"]) for line in opened]
        return found
    from samdan.demo.world import world_files

    files = world_files(SEED_WORLD)
    texts = [str(row["text"]) for name in ("general", "company") for row in files[f"{name}.jsonl"]]
    random.Random(SEED_WORLD).shuffle(texts)
    return ["\n".join(texts[at : at + TOGETHER]) for at in range(0, len(texts), TOGETHER)]


def edited(text: str, share: float, rng: random.Random) -> str:
    """The text with a share of its words replaced by other words of it."""
    parts = SPACES.split(text)
    words = range(0, len(parts), 2)
    for place in rng.sample(words, min(len(words), max(1, round(share * len(words))))):
        parts[place] = parts[rng.choice(words)]
    return "".join(parts)


def documents(texts: Sequence[str], seed: int) -> Iterator[str]:
    """Edited texts without end; each pass goes through all of them in an order of its own."""
    for number in count():
        rng = random.Random(f"{seed}-{number}")
        order = list(range(len(texts)))
        rng.shuffle(order)
        for place in order:
            yield edited(texts[place], EDITED, rng)


def sized(texts: Sequence[str], num_bytes: int, seed: int) -> Iterator[str]:
    """Documents until they have so many bytes of UTF-8."""
    held = 0
    for text in documents(texts, seed):
        yield text
        held += len(text.encode())
        if held >= num_bytes:
            return


def without_trailing_space(text: str) -> str:
    """The text without white space at the ends of lines, which datatrove's filters count."""
    return "\n".join(map(str.rstrip, text.split("\n")))


def with_copies(texts: Sequence[str], share: float, seed: int) -> list[str]:
    """The texts with near copies of a share of them behind, in words few edits away."""
    rng = random.Random(f"{seed}-copies")
    chosen = rng.sample(range(len(texts)), round(share * len(texts)))
    return [*texts, *(edited(texts[place], COPY_EDITED, rng) for place in chosen)]


def write_lines(texts: Iterator[str], folder: Path) -> tuple[int, int]:
    """JSON lines in files of a few megabytes; returns documents and bytes of text."""
    folder.mkdir(parents=True, exist_ok=True)
    opened, written, total, number = None, 0, 0, 0
    for number, text in enumerate(texts, 1):
        if opened is None or written >= FILE_BYTES:
            if opened is not None:
                opened.close()
            opened = (folder / f"{number:08d}.jsonl").open("w", encoding="utf-8")
            written = 0
        opened.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
        written += len(text.encode())
        total += len(text.encode())
    if opened is not None:
        opened.close()
    return number, total


def write_parquet(texts: Sequence[str], folder: Path, files: int) -> None:
    """The texts dealt out to so many files, with the hash of each text as its id."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    for number in range(files):
        mine = list(texts[number::files])
        table = pa.table({"id": [identity(text) for text in mine], "text": mine})
        pq.write_table(table, folder / f"{number:05d}.parquet")


def identity(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
