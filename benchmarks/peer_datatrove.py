"""FineWeb2's Korean filters, and the search for near copies, by datatrove.

Parquet, because its reader of JSON lines needs orjson, whose licence (MPL-2.0) is none of ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.filters import (
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import ParquetWriter
from datatrove.utils.word_tokenizers import load_word_tokenizer

from benchmarks.corpus import identity
from samdan.filters import PRESETS
from samdan.removing import Dedup

LANGUAGE = "kor_Hang"
MODEL = "cong"  # the model that datatrove names is no longer part of kiwipiepy
DEDUP = Dedup()


def use_current_model(data: Any = None, rank: int = 0, world_size: int = 1) -> Any:
    """A pipeline step: the process's analyser gets a model that exists."""
    load_word_tokenizer(LANGUAGE).model_type = MODEL
    return data


def filters(texts: Path, out: Path, workers: int) -> None:
    steps = [
        use_current_model,
        ParquetReader(str(texts)),
        *their_filters(),
        ParquetWriter(str(out / "kept")),
    ]
    _execute(steps, _files(texts), workers, out / "logs")


def their_filters() -> list[Any]:
    """FineWeb2's pipeline for Korean, with the limits of our preset."""
    ours: dict[str, Any] = {one.kind: one for one in PRESETS["fineweb2-ko"]}
    return [
        GopherRepetitionFilter(
            dup_para_frac=0,
            dup_line_char_frac=0,
            dup_para_char_frac=0,
            dup_line_frac=ours["dup_line_frac"].at_most,
            top_n_grams=tuple(ours["top_n_grams"].at_most.items()),
            dup_n_grams=tuple(ours["dup_n_grams"].at_most.items()),
            language=LANGUAGE,
        ),
        FineWebQualityFilter(
            line_punct_thr=ours["line_punct_ratio"].at_least,
            short_line_thr=999,
            char_duplicates_ratio=ours["char_duplicates_ratio"].at_most,
            new_line_ratio=ours["new_line_ratio"].at_most,
            language=LANGUAGE,
        ),
        GopherQualityFilter(
            min_doc_words=ours["word_count"].at_least,
            max_doc_words=ours["word_count"].at_most,
            min_avg_word_length=ours["avg_word_length"].at_least,
            max_avg_word_length=ours["avg_word_length"].at_most,
            max_non_alpha_words_ratio=ours["alpha_words_ratio"].at_least,
            stop_words=list(ours["stop_words"].stop_words),
            language=LANGUAGE,
        ),
    ]


def dedup(texts: Path, out: Path, workers: int) -> None:
    """Its four steps, with as many bands and rows as ours and its own n-grams of five words."""
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
    # Spawned like our workers, so that their processor time is counted like ours.
    LocalPipelineExecutor(
        steps, tasks=tasks, workers=workers, logging_dir=str(logs), start_method="spawn"
    ).run()


def _files(texts: Path) -> int:
    return len(list(texts.glob("*.parquet")))


def kept(out: Path) -> list[str]:
    tables = (pq.read_table(path, columns=["text"]) for path in (out / "kept").glob("*.parquet"))
    texts: Iterable[str] = (text for table in tables for text in table["text"].to_pylist())
    return [identity(text) for text in texts]
