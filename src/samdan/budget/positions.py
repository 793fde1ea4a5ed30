"""What becomes of a model's positions over the stages."""

from __future__ import annotations

from collections.abc import Sequence

from samdan.stages import CptStage, Stage


def position_remarks(stages: Sequence[Stage], known: int | None) -> dict[str, list[str]]:
    """By stage: what becomes of the model's positions, and packs that they do not reach.

    ``known``: how many positions the base was made for, None where it is not known here.
    """
    found: dict[str, list[str]] = {}
    for stage in stages:
        rope = stage.rope if isinstance(stage, CptStage) else None
        if rope is not None:
            kind = "YaRN" if rope.type == "yarn" else "RoPE"
            how = [f"factor {rope.factor:g}"] if rope.factor else []
            how += [f"theta {rope.theta:g}"] if rope.theta else []
            before = f" (before: {known:,})" if known else ""
            known = rope.positions(known or 0, stage.max_length)
            found[stage.name] = [
                f"positions: {kind}, {', '.join(how)}, for texts of up to {known:,} tokens{before}"
            ]
        elif known is not None and stage.max_length > known:
            found[stage.name] = [
                f"max_length {stage.max_length:,} is longer than the {known:,} positions that the "
                f"model was made for; a CPT stage with 'rope' would prepare it"
            ]
    return found
