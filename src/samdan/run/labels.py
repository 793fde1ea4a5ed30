"""Proof of labels before training: what is trained is shown, what cannot be right is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from samdan.lm.batch import Encoded
from samdan.lm.chat import ChatFormat
from samdan.lm.shards import Shard
from samdan.recipe import AnyStage
from samdan.records import DataError

LOOKED_AT = 500


def prove_labels(
    stage: AnyStage, label: str, shard: Shard, manifest: dict[str, Any], chat: ChatFormat
) -> None:
    """Raises DataError when the prepared records would teach something wrong in silence."""
    sample = [shard.record(number) for number in range(min(LOOKED_AT, len(shard)))]
    cut = manifest["records_dropped"].get("over_max_length", 0)
    judge_labels(stage, label, sample, cut, manifest["records_in"], chat)


def judge_labels(
    stage: AnyStage, label: str, sample: Sequence[Encoded], cut: int, total: int, chat: ChatFormat
) -> None:
    """``cut`` of ``total`` records are longer than max_length. Raises DataError."""
    where = f"stages.{stage.name}.data.{label}"
    if total and cut / total > stage.max_truncated:
        raise DataError(
            f"{where}: {cut} of {total} records ({cut / total:.1%}) are longer than max_length "
            f"{stage.max_length} and would be left out; {stage.max_truncated:.1%} are allowed. "
            f"Raise max_length, or max_truncated if that is meant."
        )
    if not sample:
        return
    if not any(record.trained[1:].any() for record in sample):
        raise DataError(
            f"{where}: not one token of the records would be trained; look at the format"
        )
    end = chat.document_end if stage.kind == "cpt" else chat.turn_end
    if end is None:
        ended = "a document" if stage.kind == "cpt" else "a turn"
        raise DataError(
            f"{where}: the tokenizer has no token that ends {ended}; a model trained so would "
            f"never stop. Give the tokenizer an eos_token."
        )
    if not any(((record.tokens == end) & record.trained).any() for record in sample):
        raise DataError(
            f"{where}: the end token {chat.tokenizer.convert_ids_to_tokens(end)!r} is never "
            f"trained; a model trained so would never stop"
        )
