"""One side of a comparison with datatrove in this process: ``prepare_peer SIDE TEXTS OUT WORKERS``.

``samdan`` and ``datatrove`` apply the same filters to the same Parquet files, ``samdan-dedup`` and
``datatrove-dedup`` look for near copies. Both read with pyarrow, count words with kiwipiepy's
current model, and write what is kept.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.corpus import identity
from benchmarks.watch import say, timed
from samdan.data.clean import clean_source
from samdan.data.copies import find_copies
from samdan.data.engine import Engine
from samdan.data.protect import Cleaned
from samdan.data.store import KEPT, clean_parts, read_part, texts_of
from samdan.filters import Preset
from samdan.filters.quality import (
    AlphaWordsRatio,
    AvgWordLength,
    LinePunctRatio,
    NewLineRatio,
    StopWords,
    WordCount,
)
from samdan.filters.repetition import CharDuplicatesRatio, DupLineFrac, DupNGrams, TopNGrams
from samdan.recipe import CptStage, Source
from samdan.records import Drop
from samdan.removing import Dedup

LANGUAGE = "kor_Hang"
MODEL = "cong"  # the model that datatrove names is no longer part of kiwipiepy
# datatrove has no filter of languages without a model from the network.
PRESET = Preset(name="fineweb2-ko", without=("language",))
DEDUP = Dedup()


# --- samdan ---------------------------------------------------------------------------------------


def samdan_filters(texts: Path, out: Path, workers: int) -> None:
    _cleaned(texts, out, workers, CptStage(data=(_source(texts, True),), dedup=None))


def samdan_dedup(texts: Path, out: Path, workers: int) -> None:
    stage = CptStage(data=(_source(texts, False),), dedup=DEDUP)
    _cleaned(texts, out, workers, stage)
    find_copies({stage.data[0].label: out / "clean"}, out / "copies", DEDUP)
    cleaned = Cleaned(stage, stage.data[0], out / "clean", out / "copies")
    with (out / "unique.jsonl").open("w", encoding="utf-8") as opened:
        for record in cleaned.records():
            if not isinstance(record, Drop):
                line = json.dumps({"text": texts_of(record)[0]}, ensure_ascii=False)
                opened.write(line + "\n")


def _source(texts: Path, filtered: bool) -> Source:
    filters = PRESET.filters if filtered else ()
    return Source(path=str(texts), name="texts", clean=None, personal=None, filters=filters)


def _cleaned(texts: Path, out: Path, workers: int, stage: CptStage) -> None:
    clean_source(stage, stage.data[0], out / "clean", Engine(workers=workers))


def samdan_kept(out: Path) -> list[str]:
    unique = out / "unique.jsonl"
    if unique.is_file():
        lines = unique.read_text("utf-8").splitlines()
        return [identity(json.loads(line)["text"]) for line in lines]
    parts = (part / KEPT for part in clean_parts(out / "clean"))
    return [identity(texts_of(record)[0]) for part in parts for record in read_part(part)]


# --- datatrove ------------------------------------------------------------------------------------


def use_current_model(data: Any = None, rank: int = 0, world_size: int = 1) -> Any:
    """A pipeline step: the process's analyser gets a model that exists."""
    from datatrove.utils.word_tokenizers import load_word_tokenizer

    load_word_tokenizer(LANGUAGE).model_type = MODEL
    return data


def datatrove_filters(texts: Path, out: Path, workers: int) -> None:
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.writers import ParquetWriter

    steps = [
        use_current_model,
        ParquetReader(str(texts)),
        *their_filters(),
        ParquetWriter(str(out / "kept")),
    ]
    _execute(steps, _files(texts), workers, out / "logs")


def their_filters() -> list[Any]:
    """FineWeb2's pipeline for Korean, with the limits of our preset."""
    from datatrove.pipeline.filters import (
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )

    ours = {type(one): one for one in PRESET.filters}
    return [
        GopherRepetitionFilter(
            dup_para_frac=0,
            dup_line_char_frac=0,
            dup_para_char_frac=0,
            dup_line_frac=ours[DupLineFrac].at_most,
            top_n_grams=tuple(ours[TopNGrams].at_most.items()),
            dup_n_grams=tuple(ours[DupNGrams].at_most.items()),
            language=LANGUAGE,
        ),
        FineWebQualityFilter(
            line_punct_thr=ours[LinePunctRatio].at_least,
            short_line_thr=999,
            char_duplicates_ratio=ours[CharDuplicatesRatio].at_most,
            new_line_ratio=ours[NewLineRatio].at_most,
            language=LANGUAGE,
        ),
        GopherQualityFilter(
            min_doc_words=ours[WordCount].at_least,
            max_doc_words=ours[WordCount].at_most,
            min_avg_word_length=ours[AvgWordLength].at_least,
            max_avg_word_length=ours[AvgWordLength].at_most,
            max_non_alpha_words_ratio=ours[AlphaWordsRatio].at_least,
            stop_words=list(ours[StopWords].stop_words),
            language=LANGUAGE,
        ),
    ]


def datatrove_dedup(texts: Path, out: Path, workers: int) -> None:
    """Its four steps, with as many bands and rows as ours and its own n-grams of five words."""
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.writers import ParquetWriter

    use_current_model()
    config = MinhashConfig(
        n_grams=DEDUP.ngram, num_buckets=DEDUP.bands, hashes_per_bucket=DEDUP.rows
    )
    places = [str(out / name) for name in ("signatures", "buckets", "remove")]
    signatures, buckets, remove = places
    sign = MinhashDedupSignature(signatures, config, language=LANGUAGE)
    files = _files(texts)
    for name, steps, tasks in (
        ("sign", [use_current_model, ParquetReader(str(texts)), sign], files),
        ("match", [MinhashDedupBuckets(signatures, buckets, config=config)], DEDUP.bands),
        ("cluster", [MinhashDedupCluster(buckets, remove, config=config)], 1),
        (
            "filter",
            [
                ParquetReader(str(texts)),
                MinhashDedupFilter(remove),
                ParquetWriter(str(out / "kept")),
            ],
            files,
        ),
    ):
        _execute(steps, tasks, min(workers, tasks), out / "logs" / name)


def _execute(steps: list[Any], tasks: int, workers: int, logs: Path) -> None:
    from datatrove.executor import LocalPipelineExecutor

    # Spawned like our workers, so that their processor time is counted like ours.
    LocalPipelineExecutor(
        steps, tasks=tasks, workers=workers, logging_dir=str(logs), start_method="spawn"
    ).run()


def _files(texts: Path) -> int:
    return len(list(texts.glob("*.parquet")))


def datatrove_kept(out: Path) -> list[str]:
    import pyarrow.parquet as pq

    tables = (pq.read_table(path, columns=["text"]) for path in (out / "kept").glob("*.parquet"))
    texts: Iterable[str] = (text for table in tables for text in table["text"].to_pylist())
    return [identity(text) for text in texts]


SIDES = {
    "samdan": (samdan_filters, samdan_kept),
    "datatrove": (datatrove_filters, datatrove_kept),
    "samdan-dedup": (samdan_dedup, samdan_kept),
    "datatrove-dedup": (datatrove_dedup, datatrove_kept),
}


def main() -> None:
    side, texts, out, workers = sys.argv[1:]
    work, kept = SIDES[side]
    folder = Path(out)
    folder.mkdir(parents=True)
    _, took = timed(lambda: work(Path(texts), folder, int(workers)))
    say(took | {"kept": sorted(kept(folder))})


if __name__ == "__main__":
    main()
