"""Averages of weights: exact, resumed exactly, and what the checkpoints keep for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import tiny
from samdan.averaging import Ema, Last
from samdan.train.averaging import Averaging
from samdan.train.optim import make_optimizer
from samdan.train.state import (
    Beside,
    Progress,
    load_checkpoint,
    save_checkpoint,
    verified,
)

IDENTITY = "id"


def parts(seed: int = 0) -> tuple[Any, Any]:
    model = tiny.model(seed=seed, num_hidden_layers=1)
    model.get_input_embeddings().weight.requires_grad_(False)
    return model, make_optimizer(model, tiny.cpt(learning_rate=1e-2), False)


def move(model: Any, optimizer: Any, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimizer.step()


def trained(model: Any) -> dict[str, Tensor]:
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


def progress(step: int, updates: int = 0) -> Progress:
    return Progress(step, step, "", IDENTITY, {}, updates=updates)


def test_the_moving_average_is_the_weighted_mean_it_says_it_is() -> None:
    model, optimizer = parts()
    decay = 0.8
    average = Averaging(model, Ema(decay=decay), 6, 2)
    seen = []
    for step in range(1, 7):
        move(model, optimizer, step)
        average.update()
        seen.append(trained(model))
    counts = torch.tensor([decay ** (5 - i) for i in range(6)], dtype=torch.float64)
    counts /= counts.sum()
    assert average.put_in({}, 6) == (6,)
    for name, tensor in trained(model).items():
        points = torch.stack([point[name].double() for point in seen])
        expected = torch.einsum("i,i...->...", counts, points)
        assert torch.allclose(tensor.double(), expected, atol=1e-6)
        assert not torch.allclose(tensor, seen[-1][name], atol=1e-3)
    assert sum(p.numel() for p in average.tensors.values()) == sum(
        p.numel() for p in model.parameters() if p.requires_grad
    )


def test_what_does_not_move_is_its_own_average_to_the_bit() -> None:
    model, _ = parts()
    before = trained(model)
    average = Averaging(model, Ema(decay=0.999), 9, 2)
    for _ in range(7):
        average.update()
    average.put_in({}, 7)
    assert all(torch.equal(tensor, before[name]) for name, tensor in trained(model).items())


def test_without_an_update_the_weights_stay() -> None:
    model, _ = parts()
    before = trained(model)
    Averaging(model, Ema(), 1, 2).put_in({}, 0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in trained(model).items())


def test_a_moving_average_goes_on_bit_for_bit(tmp_path: Path) -> None:
    model, optimizer = parts()
    average = Averaging(model, Ema(decay=0.9), 6, 2)
    for step in range(1, 7):
        move(model, optimizer, step)
        average.update()
        if step == 3:
            beside = Beside(average=average)
            path = save_checkpoint(tmp_path, model, optimizer, progress(3, 3), 1, beside=beside)
    other, fresh = parts(seed=4)
    resumed = Averaging(other, Ema(decay=0.9), 6, 2)
    load_checkpoint(path, other, fresh, resumed)
    assert resumed.updates == 3
    for step in range(4, 7):
        move(other, fresh, step)
        resumed.update()
    for name, tensor in resumed.tensors.items():
        assert torch.equal(tensor, average.tensors[name])


def test_the_last_checkpoints_are_kept_and_averaged(tmp_path: Path) -> None:
    model, optimizer = parts()
    average = Averaging(model, Last(k=3), 11, 2)
    assert average.needs == {8, 10, 11}
    seen = {}
    for step in range(1, 12):
        move(model, optimizer, step)
        average.update()
        seen[step] = trained(model)
        if step % 2 == 0 or step == 9:  # a signal at step 9
            beside = Beside(average=average)
            save_checkpoint(tmp_path, model, optimizer, progress(step), 1, beside=beside)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000008", "step-000010"]
    found = verified(tmp_path, IDENTITY, average.needs)
    assert average.put_in(found, 11) == (8, 10, 11)
    for name, tensor in trained(model).items():
        mean = sum(seen[step][name].double() for step in (8, 10, 11)) / 3
        assert torch.allclose(tensor.double(), mean, atol=1e-7)
    assert not torch.equal(trained(model)[name], seen[11][name])


@pytest.mark.parametrize(
    ("k", "total", "save_steps", "steps"),
    [
        (2, 10, 4, (8, 10)),
        (4, 10, 4, (4, 8, 10)),
        (3, 12, 4, (4, 8, 12)),
        (4, 3, 5000, (3,)),
    ],
)
def test_steps_that_are_averaged(k: int, total: int, save_steps: int, steps: Any) -> None:
    assert Last(k=k).steps(total, save_steps) == steps


def test_an_average_and_the_best_epoch_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="'keep_best' exports one epoch"):
        tiny.sft(average=Ema(), keep_best="x/accuracy")
