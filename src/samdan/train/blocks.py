"""What an optimizer moves: whole parameters, or blocks of rows of one.

Old and new rows of an embedding may learn at different rates or at different times. The optimizer
then holds a view of each block in place of the parameter. A block that does not learn gets no
gradient, so nothing of it is ever written: no decay, no momentum, no rounding. Each block has
AdamW states and a count of steps of its own, so one that begins to learn late is corrected for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from samdan.lm.model import head_and_embeddings
from samdan.recipe import Stage
from samdan.records import RecipeError
from samdan.train.sharding import local_part, own_rows
from samdan.unfreezing import Growth, layer_of, learns

Rows = tuple[int, int]  # first, and the one behind the last


@dataclass(frozen=True, eq=False)
class Block:
    """``moved`` is the parameter itself, or a view of the ``rows`` that this process has of it."""

    name: str  # of the parameter
    parameter: nn.Parameter
    moved: nn.Parameter
    places: frozenset[str]  # "input", "output", "layers"; a tied embedding has two
    new: bool
    rows: Rows | None = None

    @property
    def key(self) -> str:
        """The parameter's name; of a view with its rows."""
        return self.name if self.rows is None else f"{self.name}[{self.rows[0]}:{self.rows[1]}]"

    @property
    def size(self) -> int:
        """Numbers in it, over all processes."""
        count = self.parameter.numel()
        if self.rows is None:
            return count
        return count // self.parameter.shape[0] * (self.rows[1] - self.rows[0])


def freeze_parameters(model: nn.Module, stage: Stage) -> None:
    """Leaves trainable what the patterns ``freeze`` and ``train_only`` of a stage let learn.

    Raises RecipeError for a pattern that matches nothing that would learn without it.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    for key in ("train_only", "freeze"):
        for pattern in getattr(stage, key):
            if not any(re.search(pattern, name) for name in trained):
                tied = getattr(getattr(model, "config", None), "tie_word_embeddings", False)
                hint = " (the head is tied to the embeddings, and goes by their name)" * bool(tied)
                raise RecipeError(
                    f"stages.{stage.name}.{key}: '{pattern}' matches no parameter that would "
                    f"learn; names look like '{next(iter(trained))}'{hint}"
                )
    for name, parameter in trained.items():
        parameter.requires_grad_(learns(name, stage.freeze, stage.train_only))
    if not any(parameter.requires_grad for parameter in trained.values()):
        raise RecipeError(
            f"stages.{stage.name}: 'freeze' and 'train_only' leave nothing that learns"
        )


def blocks_of(model: nn.Module, growth: Growth, split: bool) -> list[Block]:
    """The trained parameters in order; with ``split`` embeddings and head by old and new rows."""
    embeddings, head = head_and_embeddings(model)
    found = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        named = {"input": id(parameter) in embeddings, "output": id(parameter) in head}
        places = frozenset(place for place, here in named.items() if here) or frozenset({"layers"})
        rows = growth.new_rows
        if "layers" in places:
            new = layer_of(name) in growth.new_layers
            found.append(Block(name, parameter, parameter, places, new))
        elif rows is None or not split:
            found.append(Block(name, parameter, parameter, places, False))
        else:
            found += list(_by_rows(name, parameter, places, rows))
    return found


def _by_rows(
    name: str, parameter: nn.Parameter, places: frozenset[str], new: Rows
) -> Iterator[Block]:
    for rows, is_new in (((0, new[0]), False), (new, True), ((new[1], len(parameter)), False)):
        if rows[0] < rows[1]:
            view = nn.Parameter(own_part(parameter, rows))
            yield Block(name, parameter, view, places, is_new, rows)


def own_part(tensor: Tensor, rows: Rows) -> Tensor:
    """This process's part of some rows of a tensor, sharing memory; it may have no rows."""
    first, last = own_rows(tensor)
    low, high = max(rows[0], first), min(rows[1], last)
    return local_part(tensor.detach())[max(0, low - first) : max(0, high - first, low - first)]


@torch.no_grad()
def clear_rows(optimizer: torch.optim.Optimizer) -> None:
    """Sets to zero the gradient of rows that do not learn; the others' norm is then the norm."""
    for view, block in _views(optimizer):
        if not view.requires_grad and block.parameter.grad is not None:
            own_part(block.parameter.grad, rows_of(block)).zero_()


@torch.no_grad()
def update(optimizer: torch.optim.Optimizer) -> None:
    """One step of the optimizer; views get their rows of the gradient for it."""
    views = list(_views(optimizer))
    for view, block in views:
        whole = block.parameter.grad
        learns = view.requires_grad and whole is not None
        view.grad = own_part(whole, rows_of(block)) if learns and whole is not None else None
    optimizer.step()
    for view, _ in views:
        view.grad = None


def _views(optimizer: torch.optim.Optimizer) -> Iterator[tuple[nn.Parameter, Block]]:
    for group in optimizer.param_groups:
        for parameter, block in zip(group["params"], _blocks(group), strict=True):
            if block.rows is not None:
                yield parameter, block


def _blocks(group: dict[str, Any]) -> list[Block]:
    """A group's blocks; of an optimizer that was made elsewhere every parameter is whole."""
    if "blocks" in group:
        return list(group["blocks"])
    named = zip(group.get("names", [""] * len(group["params"])), group["params"], strict=True)
    return [Block(name, parameter, parameter, frozenset(), False) for name, parameter in named]


def rows_of(block: Block) -> Rows:
    assert block.rows is not None, "asked of views only"
    return block.rows


# --- states by name -------------------------------------------------------------------------------


def state_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's states by parameter name, as they go into a checkpoint.

    States of blocks are put together to one tensor like their parameter; a count of steps is named
    by its block.
    """
    tensors: dict[str, Tensor] = {}
    for group in optimizer.param_groups:
        for block, parameter in zip(_blocks(group), group["params"], strict=True):
            for key, value in optimizer.state.get(parameter, {}).items():
                if not isinstance(value, Tensor):
                    continue
                if block.rows is None or not value.ndim:
                    tensors[f"{key}.{block.key}"] = value
                    continue
                full = f"{key}.{block.name}"
                if full not in tensors:
                    like: Any = block.parameter.detach()
                    tensors[full] = torch.zeros_like(like, dtype=value.dtype, device=value.device)
                own_part(tensors[full], block.rows).copy_(value)
    return tensors


def load_state_tensors(
    optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], on_host: bool
) -> None:
    """The other way round. ``on_host``: the states lie in the host's memory, whatever moves."""
    by_name: dict[str, dict[str, Tensor]] = {}
    for full, value in tensors.items():
        key, _, name = full.partition(".")
        by_name.setdefault(name, {})[key] = value
    for group in optimizer.param_groups:
        for block, parameter in zip(_blocks(group), group["params"], strict=True):
            state = dict(by_name.get(block.key, {}))
            if block.rows is not None and state:  # it has learned: it has a count of steps
                wholes = by_name.get(block.name, {})
                state |= {k: own_part(whole, block.rows).clone() for k, whole in wholes.items()}
            device = torch.device("cpu") if on_host else parameter.device
            optimizer.state[parameter] = {k: v.to(device) for k, v in state.items()}


def parameter_of(name: str) -> str:
    """The parameter that a state's name belongs to, without the rows of its block."""
    return name.partition("[")[0]
