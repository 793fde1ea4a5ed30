"""Runs that somebody else may have written: a file that makes no sense is a DataError."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from samdan.records import DataError, SamdanError

# What code that counts on samdan's own files raises when they hold something else.
_STRANGE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


@contextmanager
def understood(folder: Path) -> Iterator[None]:
    """For commands that only read a run. The error itself stays as the cause."""
    try:
        yield
    except SamdanError:
        raise
    except _STRANGE as error:
        what = f"{type(error).__name__}: {error}"[:200]
        raise DataError(
            f"{folder}: its files do not hold what samdan writes ({what}); where samdan itself "
            f"wrote all of them, this is an error of samdan"
        ) from error
