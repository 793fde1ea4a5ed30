"""What each preset drops of each corpus, and how fast: ``python -m benchmarks.filters FOLDER``.

Reads ``*.jsonl.gz`` with a column ``text``; a corpus of more than 1,000 documents is sampled by the
hash of each. Times are of the processor, one process, the first drop ends a document.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from samdan.data.views import needs_morphemes, require_libraries, view_of
from samdan.filters import PRESETS, Filter, Preset, WordFilter
from samdan.records import Document, Origin

SAMPLED = 500


def documents(path: Path) -> list[Document]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    found = [Document(row["text"], Origin(row.get("path", path.name))) for row in rows]
    if len(found) <= 1000:
        return found
    return sorted(found, key=lambda d: hashlib.sha256(d.text.encode()).digest())[:SAMPLED]


def by_white_space(filters: Sequence[Filter]) -> list[Filter]:
    """The same filters on words that white space separates: what the analyser costs."""
    return [
        one.model_copy(update={"unit": "word"}) if isinstance(one, WordFilter) else one
        for one in filters
    ]


def measured(documents: Sequence[Document], filters: Sequence[Filter]) -> str:
    morphemes = needs_morphemes(filters)
    reasons: Counter[str] = Counter()
    started = time.process_time()
    for document in documents:
        view = view_of(document.text, morphemes)
        drop = next((d for one in filters if (d := one(document, view))), None)
        if drop is not None:
            reasons[drop.reason] += 1
    seconds = time.process_time() - started
    megabytes = sum(len(document.text.encode()) for document in documents) / 1e6
    why = ", ".join(f"{reason} {number}" for reason, number in reasons.most_common(4))
    return f"{reasons.total()}/{len(documents)} | {megabytes / seconds:.2f} MB/s | {why}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", default=sorted(PRESETS), choices=sorted(PRESETS))
    given = parser.parse_args()
    for path in sorted(given.folder.glob("*.jsonl.gz")):
        found = documents(path)
        for name in given.only:
            filters = Preset(name=name).filters
            require_libraries(filters)
            print(f"{path.name.split('.')[0]} | {name} | {measured(found, filters)}", flush=True)
            if needs_morphemes(filters):
                words = by_white_space(filters)
                print(f"{path.name.split('.')[0]} | {name}, words | {measured(found, words)}")


if __name__ == "__main__":
    main()
