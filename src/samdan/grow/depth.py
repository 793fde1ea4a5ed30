"""Growing a model in depth: its checkpoint written anew with the layers of a layout.

Tensor by tensor, from and to safetensors: a 70B model needs no more memory than a small one.
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from samdan.growing.config import grown_config, layers_of
from samdan.growing.depth import Depth, Layer, SolarPro, layout, skips_of
from samdan.lm import skips
from samdan.lm.files import write_json
from samdan.lm.folders import appearing, copy_beside
from samdan.lm.tensors import DTYPES, SHARD_BYTES, Checkpoint, Planned, write_checkpoint
from samdan.records import DataError

# What an attention or MLP block adds to the residual stream comes out of one of these.
_ATTENTION_OUT = re.compile(r"(attn|attention)\.(o_proj|out_proj|c_proj|dense|wo)\.(weight|bias)$")
_MLP_OUT = re.compile(r"(down_proj|w2|c_proj|dense_4h_to_h|fc2)(\.weight|\.bias)?$")
_IGNORED = frozenset({"layer_idx", "layer_id", "layer_number", "block_idx"})


@dataclass(frozen=True)
class Deeper:
    """What growing in depth made. ``new_layers``: indices of the layers that were added."""

    layers_before: int
    layers_after: int
    parameters_before: int
    parameters_after: int
    new_layers: tuple[int, ...]
    new_names: str  # of their parameters: a regular expression
    skips: tuple[tuple[int, int], ...] = ()


def grow_depth(
    source: Path,
    target: Path,
    spec: Depth,
    poll: Callable[[], None] = lambda: None,
    shard_bytes: int = SHARD_BYTES,
) -> Deeper:
    """Writes the model in ``source`` with more layers to ``target``, which appears whole.

    Raises RecipeError where the spec does not fit the model, DataError where the model cannot be
    grown: no safetensors, an unknown list of layers, layers that depend on where they stand.
    """
    config = skips.read_config(str(source))
    if skips.has_skips(config):
        raise DataError(
            f"{source}: was grown with 'solar_pro' before, and its blends are those of its present "
            f"layers; it cannot be grown in depth again"
        )
    before = layers_of(config.to_dict(), str(source))
    layers = layout(spec, before)
    blends = skips_of(spec, len(layers))
    changed = grown_config(config.to_dict(), layers, str(source))
    prefix = _same_layers(config, changed, layers, str(source))
    checkpoint = Checkpoint(source)
    planned = list(_planned(checkpoint, layers, before, prefix))
    if isinstance(spec, SolarPro):
        changed = skips.marked(changed, blends, (spec.training_share, spec.inference_share))
    with appearing(target) as folder:
        write_checkpoint(folder, planned, shard_bytes, poll)
        write_json(folder / "config.json", _written(changed))
        copy_beside(source, folder)
    new = tuple(index for index, layer in enumerate(layers) if layer.new)
    return Deeper(
        before,
        len(layers),
        sum(tensor.count for tensor in checkpoint.tensors.values()),
        sum(math.prod(tensor.shape) for tensor in planned),
        new,
        layer_pattern(prefix, new),
        blends,
    )


def layer_pattern(prefix: str, layers: Sequence[int]) -> str:
    """A regular expression on the names of the parameters of some layers."""
    if not layers:
        return r"(?!)"
    return rf"(^|\.){re.escape(prefix)}\.({'|'.join(map(str, layers))})\."


def _written(config: Mapping[str, Any]) -> dict[str, Any]:
    """As config.json holds it: ``to_dict`` names a class's dtype objects too."""
    found: dict[str, Any] = json.loads(json.dumps(dict(config), default=_name_of))
    return found


def _name_of(value: Any) -> str:
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    raise TypeError(f"a config holds a {type(value).__name__}")


def _planned(
    checkpoint: Checkpoint, layers: Sequence[Layer], before: int, prefix: str
) -> Iterator[Planned]:
    """The grown model's tensors, in the order of its layers."""
    numbered = re.compile(rf"^(.*?(?:^|\.){re.escape(prefix.rpartition('.')[2])}\.)(\d+)(\..+)$")
    by_layer: dict[int, list[tuple[str, str, str]]] = defaultdict(list)
    for name in sorted(checkpoint.tensors):
        match = numbered.match(name)
        if match is None:
            yield _copied(checkpoint, name, name)
        else:
            by_layer[int(match[2])].append((name, match[1], match[3]))
    if missing := [index for index in range(before) if index not in by_layer]:
        raise DataError(
            f"{checkpoint.folder}: holds no weights of layer {missing[0]}; expected names such as "
            f"{prefix}.{missing[0]}.…"
        )
    for index, layer in enumerate(layers):
        parts = by_layer[layer.source]
        silenced = _outputs([rest for _, _, rest in parts], checkpoint) if layer.silent else set()
        for name, start, rest in parts:
            new = f"{start}{index}{rest}"
            make = _zeros if rest in silenced else _copied
            yield make(checkpoint, name, new)


def _outputs(names: Sequence[str], checkpoint: Checkpoint) -> set[str]:
    """Which of a layer's tensors have to be zero for it to add nothing."""
    attention = {name for name in names if _ATTENTION_OUT.search(name)}
    mlp = {name for name in names if _MLP_OUT.search(name)} - attention
    if not attention or not mlp:
        what = "attention" if not attention else "MLP"
        raise DataError(
            f"{checkpoint.folder}: the {what} blocks have no output projection of a known name "
            f"(o_proj, down_proj, ...), so identity blocks cannot be made; found "
            f"{', '.join(sorted(names)[:4])}"
        )
    return attention | mlp


def _copied(checkpoint: Checkpoint, name: str, new: str) -> Planned:
    found = checkpoint.tensors[name]
    return Planned(new, found.dtype, found.shape, partial(checkpoint.copy, name))


def _zeros(checkpoint: Checkpoint, name: str, new: str) -> Planned:
    found = checkpoint.tensors[name]

    def pieces() -> Iterator[Tensor]:
        for first, last in checkpoint.pieces(name):
            shape = (last - first, *found.shape[1:]) if found.shape else ()
            yield torch.zeros(shape, dtype=DTYPES[found.dtype])

    return Planned(new, found.dtype, found.shape, pieces)


def _same_layers(
    config: Any, changed: Mapping[str, Any], layers: Sequence[Layer], where: str
) -> str:
    """Proves on empty models that every layer is what its source was; returns the layers' name.

    Shapes and all plain settings of its modules (windows, layer types, scales by depth) must be
    those of the layer that is copied. Raises DataError naming the first that is not.
    """
    from transformers import AutoModelForCausalLM

    grown = type(config).from_dict(dict(changed))
    try:
        with torch.device("meta"):
            old_model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
            new_model = AutoModelForCausalLM.from_config(grown, trust_remote_code=False)
    except ValueError as error:
        raise DataError(f"{where}: {str(error).splitlines()[0]}") from None
    prefix, old_layers = skips.decoder_layers(old_model)
    _, new_layers = skips.decoder_layers(new_model)
    for index, layer in enumerate(layers):
        old, new = _nature(old_layers[layer.source]), _nature(new_layers[index])
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                raise DataError(
                    f"{where}: layer {index} of the grown model would have {key} = {new.get(key)}, "
                    f"and layer {layer.source}, which it is a copy of, has {old.get(key)}: what a "
                    f"layer of a {type(old_model).__name__} is depends on where it stands, and its "
                    f"config cannot say it for this layout"
                )
    return prefix


def _nature(layer: nn.Module) -> dict[str, Any]:
    """Shapes of a layer's parameters and the plain settings of all its modules, by name."""
    found: dict[str, Any] = {name: tuple(p.shape) for name, p in layer.named_parameters()}
    for name, module in layer.named_modules():
        for key, value in vars(module).items():
            plain = isinstance(value, int | float | str | bool) or value is None
            if plain and not key.startswith("_") and key not in _IGNORED:
                found[f"{name}.{key}".strip(".")] = value
    return found
