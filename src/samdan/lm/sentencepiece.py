"""SentencePiece's own model file to the tokenizers library's form, without the library.

Only BPE models: ``tokenizer.model`` of Llama 2 and Mistral v1. The file is a protocol buffer;
the numbers of its fields are those of sentencepiece_model.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

from samdan.records import DataError

SPACE = "▁"
NORMAL, UNKNOWN, CONTROL = 1, 2, 3  # kinds of pieces
BPE = 2  # of TrainerSpec.model_type


@dataclass(frozen=True)
class _Piece:
    text: str
    score: float
    kind: int


def read_sentencepiece(path: Path) -> Any:
    """A fast tokenizer from a SentencePiece BPE model. Raises DataError for other files."""
    from transformers import PreTrainedTokenizerFast

    pieces, trainer, normalizer = _parse(path)
    if trainer.get(3, 1) != BPE:
        raise DataError(
            f"{path}: found a SentencePiece model that is no BPE (Unigram, most likely); expected "
            f"BPE, or the model's tokenizer.json"
        )
    if normalizer.get(2):
        raise DataError(
            f"{path}: found SentencePiece with a character map of its own; expected one without, "
            f"or the model's tokenizer.json"
        )
    texts = [piece.text for piece in pieces]
    unknown = next((p.text for p in pieces if p.kind == UNKNOWN), None)
    tokenizer = Tokenizer(
        models.BPE(
            vocab={text: number for number, text in enumerate(texts)},
            merges=_merges(pieces),
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback="<0x00>" in texts,
        )
    )
    steps: list[normalizers.Normalizer] = [normalizers.Replace(" ", SPACE)]
    if normalizer.get(3, 1):
        steps.insert(0, normalizers.Prepend(SPACE))
    tokenizer.normalizer = normalizers.Sequence(steps)
    ends = [decoders.Strip(" ", 1, 0)] if normalizer.get(3, 1) else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *ends]
    )
    special = [piece.text for piece in pieces if piece.kind in (UNKNOWN, CONTROL)]
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in special])
    names = {"bos_token": trainer.get(41, 1), "eos_token": trainer.get(42, 2)}
    given = {name: texts[number] for name, number in names.items() if number in range(len(texts))}
    if "bos_token" in given:
        begin = given["bos_token"]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", pair=f"{begin} $A {begin} $B",
            special_tokens=[(begin, texts.index(begin))],
        )  # fmt: skip
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=unknown,
        clean_up_tokenization_spaces=False,
        **given,
    )


def _merges(pieces: list[_Piece]) -> list[tuple[str, str]]:
    """Every way to make a piece of two others; the best score first, as SentencePiece merges."""
    known = {p.text: number for number, p in enumerate(pieces) if p.kind == NORMAL}
    found: list[tuple[float, int, int, str, str]] = []
    for text, number in known.items():
        for cut in range(1, len(text)):
            left, right = text[:cut], text[cut:]
            if left in known and right in known:
                found.append((-pieces[number].score, number, known[left], left, right))
    return [(left, right) for *_, left, right in sorted(found)]


def _parse(path: Path) -> tuple[list[_Piece], dict[int, Any], dict[int, Any]]:
    pieces: list[_Piece] = []
    trainer: dict[int, Any] = {}
    normalizer: dict[int, Any] = {}
    try:
        for number, value in _fields(path.read_bytes()):
            if number == 1:
                inner = dict(_fields(value))
                (score,) = struct.unpack("<f", inner.get(2, bytes(4)))
                pieces.append(_Piece(inner[1].decode(), score, inner.get(3, NORMAL)))
            elif number == 2:
                trainer = dict(_fields(value))
            elif number == 3:
                normalizer = dict(_fields(value))
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, struct.error):
        pieces = []
    if not pieces:
        raise DataError(f"{path}: is no SentencePiece model")
    return pieces, trainer, normalizer


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of every field of a message: an int, or bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        size, at = _varint(data, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
        if at + size > len(data):
            raise ValueError("a field goes beyond the end")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
