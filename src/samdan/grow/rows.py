"""What new rows of embeddings and head begin as, from the rows of the old tokens they stand for.

Shape letters: V rows before, K new tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class NewTokens:
    """K new tokens: their ids, the old ids that each stands for, and the UTF-8 bytes of those."""

    ids: tuple[int, ...]
    pieces: tuple[tuple[int, ...], ...]
    weights: tuple[tuple[int, ...], ...]
    old_tokens: int  # ids below are used by the old tokenizer; rows behind are padding


def mean(old_VD: Tensor, new: NewTokens) -> Tensor:
    """The mean of the pieces (Sachidananda et al. 2021 and most since). [K, D]"""
    return torch.stack([old_VD[list(ids)].mean(0) for ids in new.pieces])


def weighted_mean(old_VD: Tensor, new: NewTokens) -> Tensor:
    """The mean of the pieces weighted by their bytes: a long piece says more. [K, D]"""
    rows = []
    for ids, sizes in zip(new.pieces, new.weights, strict=True):
        share = torch.tensor(sizes, dtype=old_VD.dtype)
        rows.append((old_VD[list(ids)] * (share / share.sum())[:, None]).sum(0))
    return torch.stack(rows)


def first(old_VD: Tensor, new: NewTokens) -> Tensor:
    """The first piece (EEVE 2402.14714 for the head: what the old model would say next). [K, D]"""
    return old_VD[[ids[0] for ids in new.pieces]].clone()


def normal(old_VD: Tensor, new: NewTokens, seed: int) -> Tensor:
    """Drawn around the mean of the used old rows with their deviation in each column. [K, D]"""
    used = old_VD[: new.old_tokens]
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(new.ids), old_VD.shape[1], generator=generator)
    return used.mean(0) + noise * used.std(0)


def initial_rows(
    method: str, old_VD: Tensor, new: NewTokens, seed: int, similar: Sequence[Similar] = ()
) -> Tensor:
    """The new rows, in fp32. ``similar``: for that method, per new token. [K, D]"""
    old_VD = old_VD.float()
    if method == "normal":
        return normal(old_VD, new, seed)
    if method == "similar":
        return torch.stack([alike(old_VD) for alike in similar])
    return {"mean": mean, "weighted_mean": weighted_mean, "first": first}[method](old_VD, new)


@dataclass(frozen=True)
class Similar:
    """Old tokens that a new one is used like, and their weights, which sum to 1."""

    ids: tuple[int, ...]
    weights: tuple[float, ...]

    def __call__(self, old_VD: Tensor) -> Tensor:
        share = torch.tensor(self.weights, dtype=old_VD.dtype)
        return (old_VD[list(self.ids)] * share[:, None]).sum(0)


def with_rows(old_VD: Tensor, new: NewTokens, rows_KD: Tensor, total: int) -> Tensor:
    """The old rows, untouched, with the new ones where their ids say; the rest is padding.

    Padding behind the old rows is the mean of the used ones: in a head it then never wins.
    """
    grown = old_VD.new_empty(max(total, len(old_VD)), old_VD.shape[1])
    grown[: len(old_VD)] = old_VD
    grown[len(old_VD) :] = old_VD[: new.old_tokens].float().mean(0).to(old_VD.dtype)
    grown[list(new.ids)] = rows_KD.to(old_VD.dtype)
    return grown


def rows_needed(old_rows: int, new: NewTokens, multiple: int) -> int:
    """As many as the highest id needs, rounded up; never fewer than there are."""
    needed = max(new.ids) + 1
    return max(old_rows, -(-needed // multiple) * multiple)
