"""Tokenizers that can be given more tokens: which they are, and how it is done.

Byte-level BPE (GPT-2's kind: Llama 3, Qwen, Mistral v3) and SentencePiece BPE in the form of the
tokenizers library (Llama 2, Mistral v1). Merges are appended, so they rank behind every old one:
the old merges are carried out first, as before, and each new token stands for a fixed sequence of
old ones. That is what makes old text, and the old model's view of new text, exact.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tokenizers import Tokenizer

from samdan.records import DataError

SPACE = "▁"  # SentencePiece's


@dataclass(frozen=True)
class Pieces:
    """A tokenizer's ordinary tokens: what may be merged."""

    kind: Literal["byte_level", "sentencepiece"]
    ids: Mapping[str, int]
    bytes_of: Mapping[int, bytes]  # of every ordinary token; added tokens are in none of the two
    first_new: int
    """The lowest id behind all that are used, special tokens included."""
    fallback: Mapping[bytes, int] = field(default_factory=dict)
    """In SentencePiece, the tokens of single bytes that spell characters it does not have."""

    def text_of(self, token: bytes) -> str:
        """How the tokenizer spells a token of these bytes (whole characters in SentencePiece)."""
        if self.kind == "byte_level":
            return "".join(_BYTE_TO_CHAR[byte] for byte in token)
        return token.decode().replace(" ", SPACE)


@dataclass(frozen=True)
class Merge:
    """Two tokens that become one, and how often they met in the text when it was learned."""

    left: int
    right: int
    new: int
    count: int


def pieces_of(tokenizer: Any, name: str = "base.tokenizer") -> Pieces:
    """What can be merged. Raises DataError, saying which, for kinds that take no more merges."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    model = state["model"]
    kind = _kind(state, name)
    added = {token["id"] for token in state["added_tokens"]}
    kinds = {text: number for text, number in model["vocab"].items() if number not in added}
    # A byte that stands in for a missing character is merged with nothing: the way back from a
    # merged one is not known to the decoder.
    ids = {t: n for t, n in kinds.items() if kind != "sentencepiece" or not _is_byte(t)}
    bytes_of = {number: _bytes(text, kind) for text, number in ids.items()}
    first_new = 1 + max([*model["vocab"].values(), *added, len(tokenizer) - 1])
    fallback = {_bytes(t, kind): n for t, n in kinds.items() if t not in ids}
    return Pieces(kind, ids, bytes_of, first_new, fallback)


def _kind(state: Mapping[str, Any], name: str) -> Literal["byte_level", "sentencepiece"]:
    model = state["model"]
    expected = (
        "expected byte-level BPE (as of Qwen or Llama 3) or SentencePiece BPE (as of Llama 2 or "
        "Mistral) to add merges to"
    )
    if model["type"] != "BPE":
        raise DataError(f"{name}: found a {model['type']} tokenizer, {expected}")
    for key in ("continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(key):
            raise DataError(f"{name}: found BPE with '{key}' {model[key]!r}, {expected}")
    parts = json.dumps([state["pre_tokenizer"], state["decoder"]])
    if '"ByteLevel"' in parts:
        return "byte_level"
    if model.get("byte_fallback") and SPACE in json.dumps(
        [state["normalizer"], state["pre_tokenizer"]], ensure_ascii=False
    ):
        return "sentencepiece"
    raise DataError(
        f"{name}: found BPE that is neither byte-level nor falls back to bytes, {expected}"
    )


def _bytes(text: str, kind: str) -> bytes:
    if kind == "byte_level":
        try:
            return bytes(_CHAR_TO_BYTE[char] for char in text)
        except KeyError:
            return text.encode()  # a token that no bytes lead to
    if _is_byte(text):
        return bytes([int(text[3:5], 16)])
    return text.replace(SPACE, " ").encode()


def _is_byte(text: str) -> bool:
    return len(text) == 6 and text.startswith("<0x") and text.endswith(">")


def _byte_alphabet() -> dict[int, str]:
    """GPT-2's printable stand-in for every byte."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = (byte for byte in range(256) if byte not in set(printable))
    shifted = {byte: chr(256 + number) for number, byte in enumerate(others)}
    return {byte: chr(byte) for byte in printable} | shifted


_BYTE_TO_CHAR = _byte_alphabet()
_CHAR_TO_BYTE = {char: byte for byte, char in _BYTE_TO_CHAR.items()}


def extended(
    tokenizer: Any, pieces: Pieces, new: Mapping[int, bytes], merges: Sequence[Merge]
) -> Any:
    """The tokenizer with tokens ``new`` (id to bytes) and ``merges`` behind its own.

    Special tokens keep their ids. The result is a ``PreTrainedTokenizerFast`` whatever class the
    tokenizer had: its file says everything, so no class has to rebuild it.
    """
    from transformers import PreTrainedTokenizerFast

    state = json.loads(tokenizer.backend_tokenizer.to_str())
    model = state["model"]
    # Added tokens get the ids that the model has for them; without one, those behind its last.
    model["vocab"] |= {token["content"]: token["id"] for token in state["added_tokens"]}
    spelled = {number: text for text, number in model["vocab"].items()}
    spelled |= {number: pieces.text_of(token) for number, token in new.items()}
    model["vocab"] |= {spelled[number]: number for number in new}
    as_pairs = not model["merges"] or isinstance(model["merges"][0], list)
    for merge in merges:
        pair = [spelled[merge.left], spelled[merge.right]]
        model["merges"].append(pair if as_pairs else " ".join(pair))
    grown = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state, ensure_ascii=False)),
        chat_template=tokenizer.chat_template,
        clean_up_tokenization_spaces=False,
        model_max_length=tokenizer.model_max_length,
        padding_side=tokenizer.padding_side,
        **_special_tokens(tokenizer),
    )
    if len(grown) != pieces.first_new + len(new):
        raise DataError(
            f"base.tokenizer: it has {len(grown)} tokens after growing, expected "
            f"{pieces.first_new} and {len(new)} new ones; its ids have gaps"
        )
    return grown


def _special_tokens(tokenizer: Any) -> dict[str, Any]:
    names = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token")
    found = {name: getattr(tokenizer, name, None) for name in names}
    named = {name: token for name, token in found.items() if token is not None}
    others = [t for t in tokenizer.all_special_tokens if t not in map(str, named.values())]
    return named | {"extra_special_tokens": others}
