"""Caps dominant templates of answers, over all sources of an SFT stage.

A conversation has the templates of its last answer (``samdan.answers.template``). Which of those
that share a template stay is drawn by a hash of their content: it depends neither on the order of
the files nor on a seed. Records that are held out for measuring are never capped, so that attempts
with and without a cap are measured on the same ones (``data/protect.py``).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from samdan.answers.template import templates
from samdan.data.copies import DROP, fates
from samdan.data.store import KEPT, clean_parts, content_of, read_part
from samdan.lm.files import write_json
from samdan.records import Conversation, Drop, Record

FACTS: Final = "templates.json"
SAME_TEMPLATE: Final = "same_template"  # the reason of the drop
SHOWN: Final = 5  # templates that the facts name


@dataclass(frozen=True)
class Answers:
    """The templates of n answers, two each; and the order in which they are kept."""

    names: tuple[tuple[str, str], ...]
    order: NDArray[np.int64]  # [n]: numbers of the answers

    def shares(self, kept: Sequence[int]) -> list[tuple[str, float]]:
        """Every template with its share of the answers kept, the commonest first."""
        counts = Counter(chain.from_iterable(set(self.names[number]) for number in kept))
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return [(name, count / len(kept)) for name, count in ranked]

    def at_most(self, limit: int) -> list[int]:
        """Numbers of the answers that stay when a template may have so many."""
        counts: Counter[str] = Counter()
        kept = []
        for number in self.order.tolist():
            mine = set(self.names[number])
            if all(counts[name] < limit for name in mine):
                counts.update(mine)
                kept.append(number)
        return kept

    def capped(self, share: float) -> list[int] | None:
        """As many answers as can stay with no template above ``share``; None: it cannot be reached.

        It cannot where there are fewer kinds of answers than 1 / share.
        """
        low, high = 0, len(self.names)  # at ``low`` the share is kept, at ``high`` maybe not
        while low < high:
            limit = (low + high + 1) // 2
            if limit <= share * len(self.at_most(limit)):
                low = limit
            else:
                high = limit - 1
        return self.at_most(low) if low else None


def cap_templates(
    cleaned: Mapping[str, Path], copies: Path, share: float | None
) -> dict[str, Any]:
    """Writes per source which conversations go, and ``templates.json``; returns the facts.

    ``cleaned``: the clean folders by source; ``copies``: where ``find_copies`` wrote what is a
    copy, which is not counted. With no ``share`` the templates are only counted.
    """
    digest = hashlib.sha256()
    alive = {label: fates(copies, label) != DROP for label in cleaned}
    answers = _read([(cleaned[label], alive[label]) for label in cleaned])
    total = len(answers.names)
    kept = answers.capped(share) if share is not None and total else list(range(total))
    facts = _facts(answers, kept, share)
    mask = np.zeros(total, np.bool_)
    mask[kept if kept is not None else np.arange(total)] = True
    start = 0
    for label, living in alive.items():
        goes = np.zeros(len(living), np.bool_)
        goes[living] = ~mask[start : start + int(living.sum())]
        start += int(living.sum())
        np.save(copies / f"{label}.templates.npy", goes)
        digest.update(goes.tobytes())
    facts["sha256"] = digest.hexdigest()
    write_json(copies / FACTS, facts)
    return facts


def without_templates(
    records: Iterable[tuple[Record, Drop | None]], copies: Path, label: str
) -> Iterator[tuple[Record, Drop | None]]:
    """The records of a source in order; those that a cap leaves out with the reason."""
    path = copies / f"{label}.templates.npy"
    if not path.is_file():
        yield from records
        return
    goes = np.load(path, allow_pickle=False).tolist()
    for (record, drop), mine in zip(records, goes, strict=True):
        if mine and drop is None:
            detail = " | ".join(templates(_last_answer(record)))
            drop = Drop(SAME_TEMPLATE, record.origin, detail)
        yield record, drop


def _read(sources: Sequence[tuple[Path, NDArray[np.bool_]]]) -> Answers:
    names, keys = [], []
    for folder, living in sources:
        every = chain.from_iterable(read_part(part / KEPT) for part in clean_parts(folder))
        for record, alive in zip(every, living.tolist(), strict=True):
            if alive:
                names.append(templates(_last_answer(record)))
                content = content_of(record).encode()
                keys.append(hashlib.blake2b(content, digest_size=8).digest())
    order = sorted(range(len(keys)), key=lambda number: keys[number])
    return Answers(tuple(names), np.asarray(order, np.int64))


def _last_answer(record: Record) -> str:
    assert isinstance(record, Conversation), "only an sft stage has templates"
    return record.messages[-1].content


def _facts(answers: Answers, kept: Sequence[int] | None, share: float | None) -> dict[str, Any]:
    total = len(answers.names)
    before = answers.shares(range(total)) if total else []
    facts: dict[str, Any] = {
        "conversations": total,
        "largest": before[0][1] if before else 0.0,
        "least": 1 / max(1, len(answers.at_most(1))),  # a cap below it cannot be reached
        "commonest": [{"template": name, "share": part} for name, part in before[:SHOWN]],
    }
    if share is not None:
        facts |= {"cap": share, "reached": kept is not None}
        facts["left_out"] = total - len(kept) if kept is not None else 0
    return facts
