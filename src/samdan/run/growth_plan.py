"""What growing does to the size of a model, and whether the recipe's tokens are enough for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from samdan.budget import Shape
from samdan.growing import Grow
from samdan.growing.config import layers_of
from samdan.growing.depth import budget_remark, layout, skips_of
from samdan.recipe import ExistingBase, Recipe
from samdan.run.ledger import read_json


def depth_of(recipe: Recipe) -> tuple[int, int] | None:
    """Layers of a base on disk, and of the model that it grows to.

    None where nothing grows in depth, or the base is not on this machine. Raises RecipeError where
    the recipe's way of growing does not fit so many layers.
    """
    base = recipe.base
    if not isinstance(base, ExistingBase) or base.grow is None or base.grow.depth is None:
        return None
    if not Path(base.path).is_dir():
        return None
    layers = layers_of(read_json(Path(base.path) / "config.json"), base.path)
    after = len(layout(base.grow.depth, layers))
    skips_of(base.grow.depth, after)
    return layers, after


def grown(shape: Shape, grow: Grow | None) -> Shape:
    """The shape of the model that the first stage starts from, with all new tokens that it may get.

    Raises RecipeError where the recipe's depth does not fit so many layers.
    """
    if grow is None:
        return shape
    layers, rows = shape.num_hidden_layers, shape.vocab_size
    if grow.depth is not None:
        layers = len(layout(grow.depth, layers))
        skips_of(grow.depth, layers)
    if grow.vocab is not None:
        rows += grow.vocab.merges
    return replace(shape, num_hidden_layers=layers, vocab_size=rows)


def sizes(shape: Shape | None, grow: Grow | None) -> dict[str, Any]:
    """Parameters and layers of the base and of the grown model; empty where not known."""
    if shape is None:
        return {}
    found: dict[str, Any] = {"parameters": shape.parameters, "layers": shape.num_hidden_layers}
    if grow is not None:
        after = grown(shape, grow)
        found["grown"] = {"parameters": after.parameters, "layers": after.num_hidden_layers}
    return found


def size_lines(shape: Shape, grow: Grow | None) -> Iterator[str]:
    """The same for a terminal; nothing where the base does not grow."""
    if grow is None:
        return
    after = grown(shape, grow)
    more = after.parameters / shape.parameters - 1
    ways: list[str] = [grow.depth.kind] if grow.depth else []
    ways += [f"up to {grow.vocab.merges:,} new tokens"] if grow.vocab else []
    yield (
        f"grown: {_count(after.parameters)} parameters (+{more:.1%}), {after.num_hidden_layers} "
        f"layers instead of {shape.num_hidden_layers} ({', '.join(ways)})"
    )


def remark(recipe: Recipe, shape: Shape | None, tokens: Mapping[str, int | None]) -> str | None:
    """What is wrong with growing in depth for so few tokens; None where nothing is known to be.

    ``shape``: of the grown model; ``tokens``: by CPT stage, None where they are not known.
    """
    depth = recipe.grow.depth if recipe.grow else None
    if depth is None:
        return None
    if not tokens:
        return (
            "base.grow.depth adds layers, and no CPT stage trains them: what growing breaks stays "
            "broken, and identity blocks (llama_pro) stay silent"
        )
    known = [count for count in tokens.values() if count is not None]
    if shape is None or len(known) < len(tokens):
        return None
    return budget_remark(depth, shape.parameters, sum(known))


def _count(number: int) -> str:
    return f"{number / 1e9:.2f}B" if number >= 1e9 else f"{number / 1e6:.1f}M"
