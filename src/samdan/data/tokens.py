"""Records to token ids, as a source asks for it: the last thing that happens to a text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from samdan.infilling import Fim
from samdan.lm.batch import Encoded
from samdan.lm.chat import ChatFormat
from samdan.lm.infilling import Infilling
from samdan.recipe import Source, Stage
from samdan.records import Document, Drop, Record


class Encoder:
    """Encodes the records of one source. ``fates``: what fill-in-the-middle did, by document."""

    def __init__(self, stage: Stage, source: Source, chat: ChatFormat, seed: int) -> None:
        self.chat, self.seed, self.max_length = chat, seed, stage.max_length
        self.fim: Fim | None = source.fim
        where = f"stages.{stage.name}.data.{source.label}.fim"
        self.infilling = Infilling(source.fim, chat, where) if source.fim else None
        self.fates: Counter[str] = Counter()

    def __call__(
        self, records: Sequence[Record], held: Sequence[bool] | None = None
    ) -> list[Encoded | Drop]:
        """``held``: which records are kept for measuring; these are never taken apart."""
        if not records or not isinstance(records[0], Document):
            return [self.chat.encode(r) for r in records if not isinstance(r, Document)]
        texts = [record.text for record in records if isinstance(record, Document)]
        if self.infilling is None or self.fim is None:
            return list(self.chat.documents(texts))
        whole = [False] * len(texts) if held is None else list(held)
        read = [text for text, is_held in zip(texts, whole, strict=True) if not is_held]
        kept = [text for text, is_held in zip(texts, whole, strict=True) if is_held]
        filled = iter(self.infilling.documents(read, self.fim, self.seed, self.max_length))
        plain = iter(self.chat.documents(kept))
        out: list[Encoded | Drop] = []
        for is_held in whole:
            if is_held:
                out.append(next(plain))
                continue
            one = next(filled)
            self.fates[one.fate] += 1
            out.append(one.record)
        return out

    def report(self) -> dict[str, Any]:
        """For the manifest: documents by what became of them; empty without fill-in-the-middle."""
        if self.infilling is None:
            return {}
        read = sum(self.fates.values())
        done = self.fates["psm"] + self.fates["spm"]
        return {"documents": read, "share": round(done / read, 4) if read else 0.0} | {
            fate: self.fates[fate] for fate in ("psm", "spm", "chance", "too_long")
        }
