"""Compiling decoder layers, one graph for all of them and for every batch."""

from __future__ import annotations

import importlib.util
import os
import shutil
import warnings
from typing import Any

import torch
from torch import nn

from samdan.lm.layers import layers_of


def compile_layers(model: nn.Module, backend: str = "inductor", fullgraph: bool = False) -> int:
    """Compiles every decoder layer in place (names and state stay); returns how many.

    Sizes are symbolic from the start, so batches of other lengths and document counts reuse the
    graph. Torch would fall back to eager code in silence after a few recompilations; that is made
    an error, for the whole process. Without a compiler for the device the layers stay eager, with a
    warning.
    """
    device = next(model.parameters()).device
    if backend == "inductor" and (missing := missing_compiler(device)):
        warnings.warn(f"layers are not compiled: {missing}", stacklevel=2)
        return 0
    _make_the_limit_an_error()
    layers = layers_of(model)
    for layer in layers:
        layer.compile(dynamic=True, fullgraph=fullgraph, backend=backend)
    return len(layers)


def is_compiled(model: nn.Module) -> bool:
    return any(layer._compiled_call_impl is not None for layer in layers_of(model))


def _make_the_limit_an_error() -> None:
    import torch._dynamo

    config: Any = torch._dynamo.config
    config.fail_on_recompile_limit_hit = True


def missing_compiler(device: torch.device) -> str:
    """What compiling for the device lacks; empty when nothing."""
    if device.type == "cuda":
        return "" if importlib.util.find_spec("triton") else "Triton is not installed"
    named = os.environ.get("CXX", "")
    found = any(shutil.which(name) for name in (named, "g++", "clang++", "c++") if name)
    return "" if found else "there is no C++ compiler"
