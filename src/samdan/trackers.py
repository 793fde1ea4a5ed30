"""Where a run's numbers go beside its own folder: ``report_to`` of the recipe.

Every tracker writes into the run's folder and sends nothing, unless a field asks for it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from samdan.spec import Spec


class TensorBoard(Spec):
    """Event files in ``RUN/tensorboard``: ``tensorboard --logdir RUN/tensorboard``."""

    kind: Literal["tensorboard"] = "tensorboard"


class Wandb(Spec):
    """Weights & Biases; offline its files lie in ``RUN/wandb``, and ``wandb sync`` sends them."""

    kind: Literal["wandb"] = "wandb"
    mode: Literal["offline", "online"] = "offline"
    project: str = "samdan"
    entity: str | None = None


class Mlflow(Spec):
    """MLflow; without an address its files lie in ``RUN/mlflow``."""

    kind: Literal["mlflow"] = "mlflow"
    tracking_uri: str | None = None
    """Address of a tracking server."""
    experiment: str = "samdan"


class Trackio(Spec):
    """Trackio; without a Space its database lies in ``RUN/trackio``."""

    kind: Literal["trackio"] = "trackio"
    project: str = "samdan"
    space_id: str | None = None
    """A Space of the Hub that the numbers are sent to."""


def _named(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


def _listed(value: Any) -> Any:
    """One name alone, and ``none``, as in ``transformers.TrainingArguments``."""
    if value == "none" or value is None:
        return ()
    return (value,) if isinstance(value, str | dict) else value


Tracker = Annotated[
    TensorBoard | Wandb | Mlflow | Trackio,
    Field(discriminator="kind"),
]
Kind = Literal["tensorboard", "wandb", "mlflow", "trackio"]
ReportTo = Annotated[
    tuple[Annotated[Tracker, BeforeValidator(_named, json_schema_input_type=Kind | Tracker)], ...],
    BeforeValidator(_listed),
]
