"""A stage's positions put into a model's config: what plain transformers reads, and we train with.

The rotary frequencies and the attention scaling are computed by the model's own class from the
config, so that they cannot differ between training and whoever loads the exported model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from samdan.recipe import CptStage, Stage
from samdan.records import RecipeError


def stretched(stage: Stage) -> Callable[[Any], None] | None:
    """The change of the config that the stage asks for, or None.

    The function raises RecipeError where the model's positions cannot be changed so.
    """
    if not isinstance(stage, CptStage) or stage.rope is None:
        return None
    rope, where = stage.rope, f"stages.{stage.name}.rope"

    def change(config: Any) -> None:
        config = config.get_text_config()
        before = getattr(config, "rope_parameters", None)
        if not isinstance(before, dict) or "rope_theta" not in before:
            raise RecipeError(
                f"{where}: a {type(config).__name__} has no single base of rotary positions that "
                f"could be changed; remove 'rope'"
            )
        try:
            config.rope_parameters = rope.parameters(before)
        except ValueError as error:
            raise RecipeError(f"{where}: {error}") from None
        known = int(config.max_position_embeddings)
        config.max_position_embeddings = rope.positions(known, stage.max_length)

    return change
