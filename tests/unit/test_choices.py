"""What the program chooses by itself for a stage."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

import tiny
from samdan.lm import compiled
from samdan.recipe import Lora
from samdan.records import EnvironmentFailure
from samdan.run import choices


@pytest.fixture
def _on_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "best_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(compiled.importlib.util, "find_spec", lambda name: name == "triton")


@pytest.mark.usefixtures("_on_a_card")
def test_layers_are_compiled_on_a_card_unless_something_is_dropped() -> None:
    assert choices.choose_compile(tiny.cpt())
    assert choices.choose_compile(tiny.cpt(lora=Lora()))
    assert not choices.choose_compile(tiny.cpt(compile="never"))
    assert not choices.choose_compile(tiny.cpt(dropout=0.1))
    assert not choices.choose_compile(tiny.cpt(lora=Lora(dropout=0.1)))


def test_without_triton_a_card_computes_eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "best_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(compiled.importlib.util, "find_spec", lambda name: None)
    assert not choices.choose_compile(tiny.cpt())
    with pytest.raises(EnvironmentFailure, match=r"compile: 'always' .*Triton is not installed"):
        choices.choose_compile(tiny.cpt(compile="always"))


def test_on_a_cpu_only_a_wish_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "best_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(compiled.shutil, "which", lambda name: "/usr/bin/c++")
    assert not choices.choose_compile(tiny.cpt())
    assert choices.choose_compile(tiny.cpt(compile="always"))
    monkeypatch.setattr(compiled.shutil, "which", lambda name: None)
    with pytest.raises(EnvironmentFailure, match=r"no C\+\+ compiler; install it, or set compile"):
        choices.choose_compile(tiny.cpt(compile="always"))


@pytest.mark.parametrize("dropping", [{"dropout": 0.1}, {"lora": Lora(dropout=0.1)}])
def test_compiling_and_dropping_exclude_each_other(dropping: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=r"compile: 'always' does not go with dropout"):
        tiny.cpt(compile="always", **dropping)
