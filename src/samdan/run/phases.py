"""What the report says of the phases of a stage, out of the metrics of its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from samdan.unfreezing import Phase, Place, last_step

ENDS = 10  # steps over which the loss at the beginning and the end of a phase is a mean


def phases_of(
    phases: Sequence[Phase], rows: Sequence[Mapping[str, Any]], total: int | None
) -> list[dict[str, Any]]:
    """Per phase that began: parts, first and last step, share that learned, loss at both ends.

    ``rows``: the metrics of the stage's steps; ``total``: its steps, None while it trains.
    ``converged``: the phase ended before its share of the steps was used up.
    """
    found = []
    for index, phase in enumerate(phases):
        mine = [row for row in rows if row.get("phase") == index + 1]
        if not mine:
            continue
        losses = [row["loss"] for row in mine if row.get("loss") is not None]
        first, last = int(mine[0]["step"]), int(mine[-1]["step"])
        most = last_step(phases, Place(index, first - 1), total) if total is not None else last
        found.append(
            {
                "train": phase.name,
                "first_step": first,
                "last_step": last,
                "trained_share": mine[-1].get("trained_share"),
                "loss_first": _mean(losses[:ENDS]),
                "loss_last": _mean(losses[-ENDS:]),
                "converged": last < most,
            }
        )
    return found


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
