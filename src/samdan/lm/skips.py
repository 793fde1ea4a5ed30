"""Solar Pro's blends over the seams of a depth up-scaled model, and the config that says so.

transformers has no such model. The exported config names a model type of its own, so that other
code refuses it instead of computing something else in silence; here it is read as the architecture
it was grown from, and the blends are hooks on its layers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from samdan.lm.files import write_json
from samdan.lm.trust import require_data_only
from samdan.records import DataError

MODEL_TYPE = "samdan_solar_pro"
SKIPS, SHARES, BASE = "samdan_skips", "samdan_shares", "samdan_base"
_OWN = ("model_type", "architectures")  # what the exported config says in its own way
CARD = (
    "The layers of this model are blended over the seams as in Solar Pro. transformers has no such "
    "model and refuses it by its model type: it needs samdan's code (`samdan chat`, `samdan eval`, "
    "`samdan.lm.model.load_model`)."
)


def marked(config: Mapping[str, Any], skips: Sequence[Sequence[int]], shares: Sequence[float]
           ) -> dict[str, Any]:  # fmt: skip
    """A config.json of a model with blends. ``shares``: while training, and while used."""
    kept = {key: config.get(key) for key in _OWN}
    return dict(config) | {
        "model_type": MODEL_TYPE,
        "architectures": ["SamdanSolarProForCausalLM"],
        SKIPS: [list(pair) for pair in skips],
        SHARES: list(shares),
        BASE: kept,
    }


def plain(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The config as that of the architecture that it was grown from. Raises DataError."""
    base, skips, shares = config.get(BASE), config.get(SKIPS), config.get(SHARES)
    fine = (
        isinstance(base, Mapping)
        and isinstance(base.get("model_type"), str)
        and isinstance(skips, list)
        and all(_is_pair(pair, config.get("num_hidden_layers")) for pair in skips)
        and isinstance(shares, list)
        and len(shares) == 2
        and all(isinstance(share, int | float) and 0 <= share <= 1 for share in shares)
    )
    if not fine:
        raise DataError(
            f"{where}: config.json says model_type '{MODEL_TYPE}'; expected '{BASE}' with the "
            f"model_type it was grown from, '{SKIPS}' as [from, to] of its layers, and '{SHARES}'"
        )
    assert isinstance(base, Mapping)
    inner = {key: value for key, value in config.items() if key != BASE}
    return inner | {key: base.get(key) for key in _OWN}


def _is_pair(pair: Any, layers: Any) -> bool:
    return (
        isinstance(pair, list)
        and len(pair) == 2
        and all(isinstance(end, int) for end in pair)
        and isinstance(layers, int)
        and 0 <= pair[0] < pair[1] < layers
    )


def read_config(path: str, revision: str | None = None) -> Any:
    """A model's configuration, of a folder or the Hub; runs no code that comes with it."""
    from transformers import AutoConfig, PreTrainedConfig

    require_data_only(path, revision)
    raw, _ = PreTrainedConfig.get_config_dict(path, revision=revision)
    if raw.get("model_type") != MODEL_TYPE:
        return AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=False)
    inner = plain(raw, path)
    return AutoConfig.for_model(**inner)


def has_skips(config: Any) -> bool:
    return bool(getattr(config, SKIPS, None))


def export_config(folder: Path, config: Any) -> None:
    """Makes the config.json that transformers wrote name the blends, where there are some."""
    if not has_skips(config):
        return
    path = folder / "config.json"
    written = json.loads(path.read_text("utf-8"))
    write_json(path, marked(written, getattr(config, SKIPS), getattr(config, SHARES)))


def decoder_layers(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """Name and list of a model's decoder layers. Raises DataError where it has no one list."""
    inner: Any = model
    count = inner.config.num_hidden_layers
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == count
    ]
    outermost = [
        (name, module)
        for name, module in found
        if not any(name.startswith(f"{other}.") for other, _ in found)
    ]
    if len(outermost) != 1:
        raise DataError(
            f"a {type(model).__name__} has {len(outermost)} lists of {count} layers; expected one"
        )
    return outermost[0]


def add_skips(model: nn.Module) -> None:
    """Blends the inputs of the layers that the config names; does nothing where it names none."""
    inner: Any = model
    if not has_skips(inner.config):
        return
    _, layers = decoder_layers(model)
    training, inference = getattr(inner.config, SHARES)
    kept: dict[tuple[int, int], Tensor] = {}
    for index, layer in enumerate(layers):
        pairs = [tuple(pair) for pair in getattr(inner.config, SKIPS)]
        starts = [pair for pair in pairs if pair[0] == index]
        ends = [pair for pair in pairs if pair[1] == index]
        if starts or ends:
            hook = _Blend(kept, starts, ends, (training, inference))
            layer.register_forward_pre_hook(hook, with_kwargs=True)


def checkpoint_layers(model: nn.Module) -> None:
    """Has every layer's activations computed again in the backward pass instead of kept.

    Before 5.23 transformers computes a layer's hooks again too, where what a blend takes is gone:
    there the layers with blends keep their activations.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    inner: Any = model
    inner.gradient_checkpointing_enable({"use_reentrant": False})
    if "__call__" not in vars(GradientCheckpointingLayer):
        return
    for layer in model.modules():
        if any(isinstance(hook, _Blend) for hook in layer._forward_pre_hooks.values()):
            layer.gradient_checkpointing = False  # type: ignore[assignment]


class _Blend:
    """Before a layer: mixes in what was kept for it, and keeps what later layers mix in."""

    def __init__(
        self,
        kept: dict[tuple[int, int], Tensor],
        starts: Sequence[Any],
        ends: Sequence[Any],
        shares: tuple[float, float],
    ) -> None:
        self.kept, self.starts, self.ends, self.shares = kept, starts, ends, shares

    def __call__(
        self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        hidden = args[0] if args else kwargs["hidden_states"]
        for pair in self.starts:  # before blending, as published
            self.kept[pair] = hidden
        share = self.shares[0] if layer.training else self.shares[1]
        for pair in self.ends:
            hidden = torch.lerp(hidden, self.kept.pop(pair), share)
        if not self.ends:
            return None
        if args:
            return (hidden, *args[1:]), kwargs
        return args, kwargs | {"hidden_states": hidden}
