"""FineWeb2's Korean filters, and the search for near copies, by samdan."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.corpus import identity
from samdan.data.clean import clean_source
from samdan.data.copies import find_copies
from samdan.data.engine import Engine
from samdan.data.protect import Cleaned
from samdan.data.store import KEPT, clean_parts, read_part, texts_of
from samdan.filters import Preset
from samdan.recipe import CptStage, Source
from samdan.removing import Dedup

# datatrove has no filter of languages without a model from the network.
PRESET = Preset(name="fineweb2-ko", without=("language",))
DEDUP = Dedup()


def filters(texts: Path, out: Path, workers: int) -> None:
    _cleaned(texts, out, workers, CptStage(data=(_source(texts, True),), dedup=None))


def dedup(texts: Path, out: Path, workers: int) -> None:
    stage = CptStage(data=(_source(texts, False),), dedup=DEDUP)
    _cleaned(texts, out, workers, stage)
    find_copies({stage.data[0].label: out / "clean"}, out / "copies", DEDUP)
    cleaned = Cleaned(stage, stage.data[0], out / "clean", out / "copies")
    with (out / "unique.jsonl").open("w", encoding="utf-8") as opened:
        for record, drop in cleaned.records():
            if drop is None:
                line = json.dumps({"text": texts_of(record)[0]}, ensure_ascii=False)
                opened.write(line + "\n")


def _source(texts: Path, filtered: bool) -> Source:
    filters = PRESET.filters if filtered else ()
    return Source(path=str(texts), name="texts", clean=None, personal=None, filters=filters)


def _cleaned(texts: Path, out: Path, workers: int, stage: CptStage) -> None:
    clean_source(stage, stage.data[0], out / "clean", Engine(workers=workers))


def kept(out: Path) -> list[str]:
    unique = out / "unique.jsonl"
    if unique.is_file():
        lines = unique.read_text("utf-8").splitlines()
        return [identity(json.loads(line)["text"]) for line in lines]
    parts = (part / KEPT for part in clean_parts(out / "clean"))
    return [identity(texts_of(record)[0]) for part in parts for record in read_part(part)]
