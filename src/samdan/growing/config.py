"""A model's config.json with its layers laid out anew: counts, per-layer lists, layer indices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from samdan.growing.depth import Layer
from samdan.records import DataError

LAYERS = "num_hidden_layers"
# One entry a layer.
PER_LAYER = frozenset([
    "layer_types", "mlp_layer_types", "no_rope_layers", "layers_block_type", "attention_layers",
    "hybrid_override_pattern",
])  # fmt: skip
# Indices of layers.
INDICES = frozenset([
    "mlp_only_layers", "moe_layers", "attn_layer_indices", "cross_attention_layers",
    "full_attention_idxs", "global_attention_idxs",
])  # fmt: skip
# Lists that may have as many entries as there are layers, and have nothing to do with them.
OTHER_LISTS = frozenset({"architectures", "eos_token_id", "bad_words_ids", "suppress_tokens"})


def layers_of(config: Mapping[str, Any], where: str) -> int:
    """How many layers a model has. Raises DataError where its config does not say so."""
    found = config.get(LAYERS)
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise DataError(
            f"{where}: config.json has no '{LAYERS}'; expected a decoder-only language model"
        )
    return found


def grown_config(
    config: Mapping[str, Any], layout: Sequence[Layer], where: str = "base"
) -> dict[str, Any]:
    """The config with the layers of ``layout``.

    ``config``: complete, with the lists that transformers derives (``layer_types``). ``where``
    names the model in errors. Raises DataError where a list might be one of layers, and nobody
    knows.
    """
    layers = layers_of(config, where)
    grown = dict(config) | {LAYERS: len(layout)}
    for key, value in config.items():
        if key in INDICES and isinstance(value, list):
            grown[key] = [i for i, layer in enumerate(layout) if layer.source in value]
        elif key in PER_LAYER and isinstance(value, list | str):
            grown[key] = _per_layer(key, value, layers, layout, where)
        elif isinstance(value, list) and len(value) == layers > 1 and key not in OTHER_LISTS:
            raise DataError(
                f"{where}: config.json's '{key}' has {layers} entries, as many as there are "
                f"layers, and it is not known whether it is a list of layers; this model cannot be "
                f"grown in depth"
            )
    if "max_window_layers" in config:
        grown["max_window_layers"] = _first_windowed(grown)
    return grown


def _per_layer(
    key: str, value: Sequence[Any], layers: int, layout: Sequence[Layer], where: str
) -> Any:
    if len(value) != layers:
        raise DataError(
            f"{where}: config.json's '{key}' has {len(value)} entries, but there are {layers} "
            f"layers"
        )
    found = [value[layer.source] for layer in layout]
    return "".join(found) if isinstance(value, str) else found


def _first_windowed(config: Mapping[str, Any]) -> int:
    """Qwen's ``max_window_layers``: the layers from there on have a sliding window.

    Readers that know ``layer_types`` do not look at it; for the others it is right as long as no
    layer without a window comes later.
    """
    types = config.get("layer_types") or ()
    windowed = [i for i, kind in enumerate(types) if kind == "sliding_attention"]
    return windowed[0] if windowed else int(config[LAYERS])
