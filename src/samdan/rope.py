"""Longer texts: what a CPT stage changes in the rotary position embeddings.

A larger base slows all frequencies (Code Llama, 2308.12950: 1e4 to 1e6 for 16,384 tokens); YaRN
(2309.00071) stretches the slow ones by a factor, keeps the fast ones, and scales attention.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from samdan.spec import Count, Positive, Spec


class Rope(Spec):
    """``{theta: 1e6}``, or ``{type: yarn, factor: 4, original_max_position_embeddings: 4096}``."""

    type: Literal["default", "yarn"] = "default"
    theta: Positive | None = None
    """The base of the frequencies (``rope_theta``); as the model has it when absent."""
    factor: Annotated[float, Field(strict=True, gt=1, allow_inf_nan=False)] | None = None
    """How many times longer texts become; YaRN only."""
    original_max_position_embeddings: Count | None = None
    """The length that the model was trained at before; YaRN only."""
    beta_fast: Positive | None = None
    """Frequencies with more turns over the original length are kept (32 when absent)."""
    beta_slow: Positive | None = None
    """Frequencies with fewer turns are stretched by the whole factor (1 when absent)."""

    @model_validator(mode="after")
    def _belongs_together(self) -> Rope:
        of_yarn = {
            "factor": self.factor,
            "original_max_position_embeddings": self.original_max_position_embeddings,
            "beta_fast": self.beta_fast,
            "beta_slow": self.beta_slow,
        }
        if self.type == "yarn":
            for key in ("factor", "original_max_position_embeddings"):
                if of_yarn[key] is None:
                    raise ValueError(f"type 'yarn' needs '{key}'")
            return self
        for key, value in of_yarn.items():
            if value is not None:
                raise ValueError(f"'{key}' belongs to type 'yarn'; add it, or remove '{key}'")
        if self.theta is None:
            raise ValueError("expected 'theta', as in {theta: 1e6}, or type 'yarn'")
        return self

    @property
    def reach(self) -> int | None:
        """The longest text that the setting is made for; None: as long as it is trained on."""
        if self.factor is None or self.original_max_position_embeddings is None:
            return None
        return int(self.factor * self.original_max_position_embeddings)

    def parameters(self, before: Mapping[str, Any]) -> dict[str, Any]:
        """transformers' ``rope_parameters`` out of the model's own.

        Raises ValueError where YaRN would replace another stretching of the positions.
        """
        theta = self.theta if self.theta is not None else before.get("rope_theta")
        if self.type == "default":
            return {**before, "rope_theta": theta}
        found = before.get("rope_type", "default")
        if found not in ("default", "yarn"):
            raise ValueError(
                f"the model's positions are stretched already (rope_type '{found}'); expected "
                f"'default' or 'yarn'. Change 'theta' instead"
            )
        more = {"beta_fast": self.beta_fast, "beta_slow": self.beta_slow}
        kept = {k: v for k, v in before.items() if k == "partial_rotary_factor"}
        return kept | {
            "rope_type": "yarn",
            "rope_theta": theta,
            "factor": self.factor,
            "original_max_position_embeddings": self.original_max_position_embeddings,
            **{key: value for key, value in more.items() if value is not None},
        }

    def positions(self, before: int, max_length: int) -> int:
        """``max_position_embeddings`` behind a stage with packs of ``max_length`` tokens."""
        return self.reach or max(before, max_length)
