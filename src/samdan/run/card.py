"""The model card of an exported model: what it is, what it was trained on, what it cost."""

from __future__ import annotations

import json

from samdan.recipe import AnyStage, ScratchBase
from samdan.report.markup import markdown_text
from samdan.run.context import Run

_WHAT = {
    "cpt": "continued pre-training (knowledge)",
    "sft": "supervised fine-tuning (form)",
    "dpo": "direct preference optimization (preference)",
}


def model_card(run: Run, stage: AnyStage) -> str:
    """README.md of a stage's model. Names sources and tokens, never the machine."""
    recipe = run.recipe
    base = "random weights" if isinstance(recipe.base, ScratchBase) else recipe.base.path
    manifest = json.loads(run.ledger.manifest(stage.name).read_text("utf-8"))
    front = ["---", "library_name: transformers", "tags: [samdan]"]
    if not isinstance(recipe.base, ScratchBase):
        front.append(f"base_model: {json.dumps(base)}")  # a JSON string is one of YAML
    rows = [
        f"| {markdown_text(label)} | {row['role']} | {row['in']:,} | {row['repeated']:,} | "
        f"{row['trained']:,} | {row['masked']:,} | {sum(row['dropped'].values()):,} |"
        for label, row in manifest["by_source"].items()
    ]
    settings = stage.model_dump(
        mode="json",
        include={"num_train_epochs", "learning_rate", "max_length", "lr_scheduler_type"},
    )
    extra = {"beta": stage.beta, "loss_type": stage.loss_type} if stage.kind == "dpo" else {}
    return "\n".join(
        [
            *front,
            "---",
            f"# {markdown_text(recipe.name)}: {markdown_text(stage.name)}",
            "",
            f"Made with samdan from {markdown_text(base)} by {_WHAT[stage.kind]}. "
            f"Stage '{stage.name}' of "
            f"{', '.join(s.name for s in recipe.stages)}.",
            "",
            "## Data (tokens)",
            "",
            "| source | role | in | repeated | trained | masked | dropped |",
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
            "## Settings",
            "",
            "```json",
            json.dumps(settings | extra, indent=1),
            "```",
            "",
            "What the stage gained and cost stands in the run's report.",
            "",
        ]
    )
