"""Map phase of removing copies: every text to a signature that is the same on every machine.

A signature holds a hash of the whole text and, for near copies, MinHash (Broder 1997): per hash
function the smallest value over the text's n-grams, in bands whose agreement makes two texts
candidates (Leskovec, Rajaraman and Ullman, chapter 3), and one byte of each smallest value, from
which the Jaccard similarity is estimated (b-bit MinHash, Li and Koenig 2010).
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from samdan.data.ngrams import U64, Int, Units, constants, in_groups, mix, ngrams_of, units_of
from samdan.lm.files import write_json
from samdan.records import DataError
from samdan.removing import Dedup

U32 = NDArray[np.uint32]
U8 = NDArray[np.uint8]

FORMAT: Final = 1  # changes whenever a signature of the same text would
MAX_CHARS: Final = 4_000_000  # a longer text is known by its beginning
_SEED: Final = 0x73616D64616E  # "samdan"
_BAND: Final = np.uint64(0xD1342543DE82EF95)
_BYTE, _24 = np.uint32(0x9E3779B1), np.uint32(24)
NOTHING: Final = np.uint64(0)  # the band of a text without units: agrees with no other


@dataclass(frozen=True)
class Signatures:
    """What is known of n texts, in order. Arrays may be memory-mapped."""

    exact: U64  # [n]: of the text without its white space
    bands: U64  # [n, bands], stored by band; no bands when near copies are not looked for
    sketch: U8  # [n, bands x rows]

    def __len__(self) -> int:
        return len(self.exact)

    @property
    def num_bytes(self) -> int:
        return int(self.exact.nbytes + self.bands.nbytes + self.sketch.nbytes)


def signatures(texts: Sequence[str], spec: Dedup) -> Signatures:
    """The signatures of the texts; each depends on its own text and the spec only."""
    hashes = spec.bands * spec.rows if spec.near else 0
    exact = np.fromiter((exact_hash(text) for text in texts), np.uint64, len(texts))
    smallest = np.empty((hashes, len(texts)), np.uint32)
    empty = np.ones(len(texts), np.bool_)
    if spec.near:
        done = 0
        for group in in_groups(text[:MAX_CHARS] for text in texts):
            part = slice(done, done + len(group))
            empty[part] = _smallest(units_of(group), spec.ngram, smallest[:, part])
            done += len(group)
    bands = _bands(smallest, spec.rows, empty) if spec.near else np.empty((0, len(texts)))
    sketch = ((smallest * _BYTE) >> _24).astype(np.uint8)
    return Signatures(exact, bands.astype(np.uint64, copy=False).T, np.ascontiguousarray(sketch.T))


def exact_hash(text: str) -> int:
    """64 bits of BLAKE2b over the text in NFC without white space."""
    content = "".join(unicodedata.normalize("NFC", text).split())
    digest = hashlib.blake2b(content.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _smallest(units: Units, n: int, out: U32) -> NDArray[np.bool_]:
    """Fills ``out`` [hashes, texts]; returns which texts have no n-gram at all.

    The hash functions are x -> ax + b modulo 2**32 with odd a, on values that are already mixed:
    error and rate of collisions are those of independent functions (tests/unit/test_minhash.py).
    """
    grams, counts = _grams(units, n)
    full = np.flatnonzero(counts)
    begins = np.concatenate([[0], np.cumsum(counts[full])[:-1]]).astype(np.int64)
    parameters = constants(_SEED, 2 * len(out)).astype(np.uint32).reshape(-1, 2)
    out[:] = 0
    if len(full):
        row = np.empty_like(grams)
        for number, (factor, offset) in enumerate(parameters):
            np.multiply(grams, factor | np.uint32(1), out=row)
            np.add(row, offset, out=row)
            out[number, full] = np.minimum.reduceat(row, begins)
    return np.asarray(counts == 0)


def _grams(units: Units, n: int) -> tuple[U32, Int]:
    """The n-grams of every text back to back, and how many each has.

    A text of fewer than n units is one n-gram: all of them.
    """
    counts = np.where(units.counts >= n, units.counts - n + 1, units.counts > 0).astype(np.int64)
    ends = np.cumsum(counts)
    where = np.repeat(units.offsets[:-1] - (ends - counts), counts) + np.arange(counts.sum())
    short = np.flatnonzero((units.counts < n) & (units.counts > 0))
    lengths = sorted({n, *units.counts[short].tolist()})
    found = np.empty(len(where), np.uint64)
    for length, hashes in ngrams_of(units.hashes, lengths):
        if length == n:
            whole = np.repeat(units.counts >= n, counts)
            found[whole] = hashes[where[whole]]
        else:
            mine = short[units.counts[short] == length]
            found[ends[mine] - 1] = hashes[units.offsets[mine]]
    return (found >> np.uint64(32)).astype(np.uint32), counts


def _bands(smallest: U32, rows: int, empty: NDArray[np.bool_]) -> U64:
    """[bands, texts]: one hash of the smallest values of each band."""
    count = len(smallest) // rows
    bands = np.repeat(constants(_SEED + 1, count)[:, None], smallest.shape[1], axis=1)
    for row in range(rows):
        bands *= _BAND
        bands += smallest[row::rows]
    bands = mix(bands)
    bands[bands == NOTHING] = np.uint64(1)
    bands[:, empty] = NOTHING
    return bands


def save(found: Signatures, spec: Dedup, folder: Path) -> None:
    """Writes the arrays, and last ``signatures.json``, which says how they were made."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "exact.npy", found.exact)
    np.save(folder / "bands.npy", np.ascontiguousarray(found.bands.T))
    np.save(folder / "sketch.npy", found.sketch)
    write_json(folder / "signatures.json", _made_by(spec))


def load(folder: Path, spec: Dedup) -> Signatures:
    """The arrays, memory-mapped. Raises DataError when they were made in another way."""
    try:
        made_by = json.loads((folder / "signatures.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}: no complete signatures: {error}") from None
    if made_by != _made_by(spec):
        raise DataError(f"{folder}: signatures made by {made_by}, expected {_made_by(spec)}")
    exact, bands, sketch = (
        np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        for name in ("exact", "bands", "sketch")
    )
    return Signatures(exact, bands.T, sketch)


def _made_by(spec: Dedup) -> dict[str, Any]:
    about = spec.model_dump(include={"ngram", "bands", "rows"}) if spec.near else {}
    return {"format": FORMAT, "near": spec.near, **about}
