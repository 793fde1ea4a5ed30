"""Low-rank adapters: what a recipe can say of them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from samdan.spec import Count, Positive, Share, Spec


class Lora(Spec):
    """Low-rank adapters (peft), merged into the weights when the stage is exported."""

    r: Count = 16
    alpha: Positive = 32
    dropout: Share = 0.0
    target_modules: tuple[str, ...] | Literal["all-linear"] = "all-linear"
    use_rslora: bool = False
    """Scale by alpha / sqrt(r) in place of alpha / r, so that a high rank learns as fast as a low
    one (rsLoRA, 2312.03732)."""
    use_dora: bool = False
    """Learn a length per output beside the direction (DoRA, 2402.09353). Slower: the norm of every
    adapted weight is computed in each forward."""
    lora_plus_ratio: Annotated[float, Field(strict=True, ge=1)] = 1.0
    """Rate of the B matrices as a multiple of the rate of the A matrices (LoRA+, 2402.12354, whose
    authors use 16 with a ``learning_rate`` below LoRA's)."""
    quantize: Literal["none", "4bit", "8bit"] = "none"
    """QLoRA: frozen weights in 4 or 8 bits (needs a GPU and the ``quant`` extra)."""
