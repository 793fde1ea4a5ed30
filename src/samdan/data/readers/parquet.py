"""Parquet files: a row for each row, read in batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from samdan.data.readers.file import File, Row
from samdan.records import Drop, Origin


def parquet_rows(file: File) -> Iterator[Row | Drop]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with file.opened() as stream, pq.ParquetFile(stream) as table:
            for batch in table.iter_batches(batch_size=256):
                for index in range(len(batch)):
                    number += 1
                    yield _row(batch.slice(index, 1), Origin(file.origin.path, number))
    except (pa.ArrowException, OSError, ValueError, LookupError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the machine's failure; pyarrow's own OSError for a bad page has no number
        yield Drop("broken_parquet", Origin(file.origin.path, number + 1), str(error))


def _row(batch: Any, origin: Origin) -> Row | Drop:
    try:
        return Row(batch.to_pylist()[0], origin)
    except (ValueError, OverflowError) as error:  # nanoseconds, or a date after the year 9999
        reason = "invalid_utf8" if isinstance(error, UnicodeDecodeError) else "bad_value"
        return Drop(reason, origin, str(error))
