"""Fill-in-the-middle as token ids: sentinels, documents with the middle last, prompts for a middle.

PSM: ``<prefix> prefix <suffix> suffix <middle> middle <eot>``. SPM, in the variant that shares its
sentinels with PSM: ``<prefix> <suffix> suffix <middle> prefix + middle <eot>``, prefix and middle
tokenized in one go, so that no token is cut where the middle begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from samdan.infilling import Fim, Order, Sentinels, Split, split
from samdan.lm.batch import Encoded
from samdan.lm.chat import ChatFormat
from samdan.records import RecipeError


@dataclass(frozen=True)
class Filled:
    """A document as it is trained on. ``fate``: ``psm``, ``spm``, or why it stayed as it is:
    ``chance`` (its turn did not come, or it is too short) or ``too_long`` for one pack."""

    record: Encoded
    fate: str


class Infilling:
    """The sentinels of a recipe in a tokenizer. Raises RecipeError unless each is one token.

    ``where``: the key that names them, for errors.
    """

    def __init__(self, tokens: Sentinels, chat: ChatFormat, where: str) -> None:
        self.chat = chat
        self.prefix, self.middle, self.suffix = (
            _single_id(name, chat, where) for name in (tokens.prefix, tokens.middle, tokens.suffix)
        )
        end = chat.document_end if tokens.eot is None else _single_id(tokens.eot, chat, where)
        if end is None:
            raise RecipeError(
                f"{where}: the tokenizer has no token that ends a document; name one as 'eot'"
            )
        self.eot = end

    def documents(self, texts: Sequence[str], spec: Fim, seed: int, longest: int) -> list[Filled]:
        """Documents as ``ChatFormat.documents`` encodes them, a share with the middle last.

        All of their tokens are trained, sentinels too. A document that would not fit into
        ``longest`` tokens stays as it is (as in Code Llama): its parts would lie in several packs,
        where they do not see each other.
        """
        splits = [split(text, spec, seed) for text in texts]
        filled = [None if s is None else self.document(s) for s in splits]
        kept = [i for i, one in enumerate(filled) if one is None or len(one) > longest]
        plain = dict(zip(kept, self.chat.documents([texts[i] for i in kept]), strict=True))
        out = []
        for number, (parts, record) in enumerate(zip(splits, filled, strict=True)):
            if record is not None and parts is not None and number not in plain:
                out.append(Filled(record, parts.order))
            else:
                out.append(Filled(plain[number], "chance" if parts is None else "too_long"))
        return out

    def document(self, parts: Split) -> Encoded:
        """A document with its middle last, all tokens trained."""
        if parts.order == "psm":
            prompt = self.prompt(parts.prefix, parts.suffix, "psm")
            ids = [*prompt, *self.chat.encode_text(parts.middle), self.eot]
        else:
            joined = self.chat.encode_text(parts.prefix + parts.middle)
            ids = [*self.prompt("", parts.suffix, "spm"), *joined, self.eot]
        return Encoded(np.asarray(ids, np.uint32), np.ones(len(ids), np.bool_))

    def prompt(self, prefix: str, suffix: str, order: Order) -> list[int]:
        """Token ids after which the middle follows."""
        start = [] if self.chat.document_start is None else [self.chat.document_start]
        before, after = self.chat.encode_texts([prefix, suffix])
        if order == "psm":
            return [*start, self.prefix, *before, self.suffix, *after, self.middle]
        return [*start, self.prefix, self.suffix, *after, self.middle, *before]


def add_tokens(tokenizer: Any, names: Sequence[str]) -> tuple[int, ...]:
    """Adds the special tokens that the tokenizer lacks; returns their ids."""
    known = tokenizer.get_vocab()
    missing = [name for name in names if name not in known]
    if missing:
        tokenizer.add_special_tokens(
            {"additional_special_tokens": missing}, replace_extra_special_tokens=False
        )
    return tuple(int(tokenizer.convert_tokens_to_ids(name)) for name in missing)


def _single_id(name: str, chat: ChatFormat, where: str) -> int:
    found = chat.tokenizer.get_vocab().get(name)
    if found is None:
        pieces = len(chat.encode_text(name))
        raise RecipeError(
            f"{where}: '{name}' is no token of the tokenizer (it would be {pieces} pieces of "
            f"text); expected tokens of its own. Name the model's (prefix, middle, suffix, eot), "
            f"or set add_missing: true in 'fim' of a source, which adds them"
        )
    return int(found)
