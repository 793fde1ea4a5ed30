"""The stages of a recipe: what they share, and the golden defaults of each kind.

Field names are those of ``transformers.TrainingArguments`` and TRL. The defaults are the golden
values: CPT 2 epochs at 1e-5, SFT 3 at 2e-5, DPO 1 at 5e-7 with beta 0.1.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from samdan.adapters import Lora
from samdan.averaging import Average
from samdan.removing import Dedup
from samdan.rope import Rope
from samdan.rules import (
    Displaced,
    Displacing,
    Diverging,
    Forgetting,
    Gate,
    Improved,
    LossSpike,
    Monitor,
    NonFinite,
    Rebound,
    Retained,
    SkipSpikes,
    Slow,
    Unstable,
)
from samdan.sources import Anneal, HeldOut, Name, Source
from samdan.spec import Count, NonNegative, Positive, Share, Spec, Whole
from samdan.unfreezing import Unfreeze


class Stage(Spec):
    """What the three stages share."""

    name: Name
    data: tuple[Source, ...] = Field(min_length=1)
    num_train_epochs: Positive
    """One epoch is one pass over the target sources."""
    replay_share: Annotated[float, Field(strict=True, ge=0, lt=1)] | None = None
    """Share of replay sources in the tokens when no source has a weight."""
    anneal: Anneal | None = None
    max_steps: Count | None = None
    """Ends the stage earlier; the schedule is laid over this many steps."""
    learning_rate: Positive
    embedding_lr: NonNegative | None = None
    """Rate of the input embeddings; CPT's default is a tenth of ``learning_rate``."""
    lm_head_lr: NonNegative | None = None
    """Rate of the output head; CPT's default is a tenth of ``learning_rate``."""
    lr_groups: dict[str, NonNegative] = Field(default_factory=dict)
    """Regular expression on parameter names to rate; one that matches nothing is an error."""
    new_rows_lr: NonNegative | None = None
    """Rate of the rows that growing has added to embeddings and head; ``learning_rate`` where
    embeddings and head have no rate of their own."""
    new_layers_lr: NonNegative | None = None
    """Rate of the layers that growing has added."""
    freeze: tuple[str, ...] = ()
    """Regular expressions on parameter names: these do not learn. One of no effect is an error."""
    train_only: tuple[str, ...] = ()
    """Regular expressions on parameter names: nothing else learns."""
    average: Average | None = None
    """Export an average of the weights (``ema``, or of the ``last`` checkpoints)."""
    per_device_train_batch_size: Count
    gradient_accumulation_steps: Count
    """Effective batch = per-device batch x accumulation x processes, whatever fits at once."""
    micro_batch_tokens: Count | None = None
    """Tokens in one forward pass; chosen by the program when absent, and kept for the whole run."""
    warmup_steps: NonNegative
    """Steps, or a share of the run when below 1; never more than a tenth of the run."""
    lr_scheduler_type: Literal["cosine", "linear", "constant", "wsd"]
    min_lr_ratio: Share = 0.0
    """Where the schedule ends, as a share of ``learning_rate``."""
    decay_share: Share = 0.2
    """Share of the run in which ``wsd`` decays."""
    weight_decay: NonNegative = 0.0
    adam_beta1: Share = 0.9
    adam_beta2: Share = 0.95
    adam_epsilon: Positive = 1e-8
    max_grad_norm: Positive = 1.0
    optim: Literal["adamw", "adamw_8bit", "adamw_offload"] = "adamw"
    """``adamw_8bit`` needs bitsandbytes; ``adamw_offload`` keeps the states in host memory."""
    max_length: Count
    logging_steps: Count
    """Where there is no terminal, a line with the mean loss since the last one every so many steps;
    ``metrics.jsonl`` holds every step."""
    save_steps: Count
    eval_steps: Count
    save_total_limit: Count = 2
    gradient_checkpointing: bool = False
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of the computation; weights that are trained and the optimizer's states are always fp32."""
    shard: Literal["auto", "none", "full"] = "auto"
    """Whether several processes split weights, gradients and states (FSDP2) or each keep them all.
    ``auto``: split where they would fill more than half of the memory."""
    compile: Literal["auto", "always", "never"] = "auto"
    """Compile the decoder layers; ``auto``: on a GPU with Triton, where nothing is dropped."""
    dropout: Share = 0.0
    """On what each attention and MLP block adds, drawn from (seed, step, record)."""
    lora: Lora | None = None
    heldout: HeldOut = HeldOut()
    dedup: Dedup | None = Dedup()
    """Copies within and across sources; of conversations and pairs the exact ones. null: none."""
    max_bad_rows: Share = 0.01
    """More unreadable or invalid rows than this share fail the step."""
    max_truncated: Share = 0.05
    """``check`` refuses when a larger share of the records would be cut or dropped by length."""
    skip_spikes: SkipSpikes | None = SkipSpikes()
    """Single updates far outside the recent past are left out; null: none is."""
    rules: tuple[Monitor, ...] = (NonFinite(), LossSpike(), Unstable(), Slow())
    gates: tuple[Gate, ...] | None = None
    """Default: the targets improved, and replay sources kept their level within 3%."""
    keep_best: str | None = None
    """``<task>/<metric>``: measured after every epoch, and the best epoch's model is exported."""
    max_responses: Whole = 2
    """So often the stage may be changed by the response of a rule and go again."""

    @model_validator(mode="before")
    @classmethod
    def _rate_of_adapters(cls, value: Any) -> Any:
        """Adapters learn at ten times the full rate where the recipe gives none.

        Schulman et al. 2025, LoRA Without Regret: the best rates differ by about that factor.
        """
        if isinstance(value, dict) and value.get("lora") and "learning_rate" not in value:
            return value | {"learning_rate": 10 * cls.model_fields["learning_rate"].default}
        return value

    @model_validator(mode="after")
    def _checks(self) -> Stage:
        labels = [source.label for source in self.data]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"two sources are called '{twice[0]}'; give each a 'name' of its own")
        if not any(source.role == "target" for source in self.data):
            raise ValueError("no source has role 'target', and an epoch is a pass over the targets")
        if not isinstance(self, DpoStage) and any(source.drop_refusals for source in self.data):
            raise ValueError("'drop_refusals' judges pairs; only a dpo stage has some")
        weights = [source.weight is not None for source in self.data]
        if any(weights) and not all(weights):
            raise ValueError("either every source has a 'weight' or none has")
        if any(weights) and any(source.epochs is not None for source in self.data):
            raise ValueError("'epochs' of a source and 'weight' exclude each other; give one kind")
        if self.anneal and (strange := sorted(self.anneal.weights.keys() - set(labels))):
            raise ValueError(
                f"anneal.weights: no source is called '{strange[0]}'; there are: "
                f"{', '.join(labels)}"
            )
        if self.shard == "full" and not self.can_shard:
            raise ValueError(
                "shard: 'full' splits fp32 weights and AdamW's states; it goes with optim 'adamw', "
                "without lora.quantize and without keep_best, whose tasks need a whole model"
            )
        if self.compile == "always" and self.drops:
            raise ValueError(
                "compile: 'always' does not go with dropout, whose places differ from layer to "
                "layer; set compile to 'auto', or dropout and lora.dropout to 0"
            )
        if self.average is not None and self.keep_best is not None:
            raise ValueError("'keep_best' exports one epoch and 'average' a mean; choose one")
        for key in ("lr_groups", "freeze", "train_only"):
            for pattern in getattr(self, key):
                try:
                    re.compile(pattern)
                except re.error as error:
                    raise ValueError(
                        f"{key}: '{pattern}' is not a regular expression: {error}"
                    ) from None
        return self

    @property
    def replay(self) -> float:
        """The replay share as it will be."""
        return 0.05 if self.replay_share is None else self.replay_share

    @property
    def can_shard(self) -> bool:
        """Whether several processes can split its weights and states."""
        plain = self.lora is None or self.lora.quantize == "none"
        return self.optim == "adamw" and plain and self.keep_best is None

    @property
    def drops(self) -> bool:
        """Whether anything is dropped while it trains."""
        return self.dropout > 0 or (self.lora is not None and self.lora.dropout > 0)

    @property
    def keeps_copies(self) -> bool:
        """Whether bf16 computes with copies of the layers' weights, which cost 2 bytes each.

        DoRA does not: its scales lie near 1, where bf16 rounds away what they learn.
        """
        return not (self.gradient_checkpointing or (self.lora is not None and self.lora.use_dora))

    @property
    def units_per_step(self) -> int:
        """Blocks, conversations or pairs in one optimizer step of one process."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps


class CptStage(Stage):
    """Continued pre-training: reads documents, every token is predicted."""

    kind: Literal["cpt"] = "cpt"
    name: Name = "cpt"
    num_train_epochs: Positive = 2
    learning_rate: Positive = 1e-5
    per_device_train_batch_size: Count = 32
    gradient_accumulation_steps: Count = 4
    warmup_steps: NonNegative = 1000
    lr_scheduler_type: Literal["cosine", "linear", "constant", "wsd"] = "cosine"
    min_lr_ratio: Share = 0.1
    max_length: Count = 4096
    logging_steps: Count = 100
    save_steps: Count = 5000
    eval_steps: Count = 1000
    rules: tuple[Monitor, ...] = (
        NonFinite(), LossSpike(), Unstable(), Rebound(), Forgetting(), Slow(),
    )  # fmt: skip
    adapts_to: Literal["language", "domain", "synthetic"] = "language"
    """Decides ``replay_share`` when it is absent: 25% for a new language, 5% for a domain in a
    language that the base knows, 10% for a small synthetic set."""
    rope: Rope | None = None
    """Positions for texts longer than the base was trained on; goes with a larger ``max_length``
    and stays in the exported model."""
    unfreeze: Unfreeze | None = None
    """Phases that let more and more of a grown model learn: ``eeve``, or a list of parts."""

    @model_validator(mode="after")
    def _reaches(self) -> CptStage:
        reach = self.rope.reach if self.rope else None
        if reach is not None and self.max_length > reach:
            raise ValueError(
                f"rope: factor x original_max_position_embeddings is {reach}, less than max_length "
                f"{self.max_length}; raise the factor or shorten max_length"
            )
        return self

    @model_validator(mode="after")
    def _unfreezes_weights(self) -> CptStage:
        if self.unfreeze is not None and self.lora is not None:
            raise ValueError("'unfreeze' trains the weights, 'lora' adapters: choose one")
        if self.unfreeze is not None and self.optim == "adamw_8bit":
            raise ValueError(
                "unfreeze: rows that do not learn share 8-bit blocks with rows that do; use optim "
                "'adamw' or 'adamw_offload'"
            )
        return self

    @property
    def replay(self) -> float:
        """Ibrahim et al. 2403.08763 for language and domain, EntiGraph 2409.07431 for synthetic."""
        if self.replay_share is not None:
            return self.replay_share
        return {"language": 0.25, "domain": 0.05, "synthetic": 0.1}[self.adapts_to]


def _no_document_filters(stage: Stage) -> None:
    if stage.dedup is not None and stage.dedup.paragraphs:
        raise ValueError("dedup.paragraphs: only the documents of a cpt stage have paragraphs")
    for source in stage.data:
        of_documents = {"filters": source.filters, "select": source.select, "fim": source.fim}
        for key, value in of_documents.items():
            if value:
                raise ValueError(
                    f"source '{source.label}': '{key}' is about documents and would have no effect "
                    f"in a stage of this kind; only a cpt stage has documents"
                )


class SftStage(Stage):
    """Supervised fine-tuning: reads conversations, only the assistant's turns are predicted."""

    kind: Literal["sft"] = "sft"
    name: Name = "sft"
    num_train_epochs: Positive = 3
    learning_rate: Positive = 2e-5
    per_device_train_batch_size: Count = 16
    gradient_accumulation_steps: Count = 8
    warmup_steps: NonNegative = 500
    lr_scheduler_type: Literal["cosine", "linear", "constant", "wsd"] = "cosine"
    max_length: Count = 4096
    logging_steps: Count = 50
    save_steps: Count = 2000
    eval_steps: Count = 500
    dedup: Dedup | None = Dedup(near=False)
    max_template_share: Annotated[float, Field(strict=True, gt=0, le=1)] | None = None
    """Conversations whose answers open or close alike, in the same form, make up no larger share;
    the rest are left out. Nothing is where there are too few kinds of answers for it."""

    @model_validator(mode="after")
    def _has_no_documents(self) -> SftStage:
        _no_document_filters(self)
        return self


class DpoStage(Stage):
    """Direct preference optimization: reads pairs, learns to prefer the chosen answer."""

    kind: Literal["dpo"] = "dpo"
    name: Name = "dpo"
    num_train_epochs: Positive = 1
    learning_rate: Positive = 5e-7
    per_device_train_batch_size: Count = 8
    gradient_accumulation_steps: Count = 1
    warmup_steps: NonNegative = 0.1
    lr_scheduler_type: Literal["cosine", "linear", "constant", "wsd"] = "linear"
    max_length: Count = 2048
    logging_steps: Count = 25
    save_steps: Count = 1000
    eval_steps: Count = 250
    rules: tuple[Monitor, ...] = (
        NonFinite(), LossSpike(), Unstable(), Displacing(), Diverging(), Slow(),
    )  # fmt: skip
    dedup: Dedup | None = Dedup(near=False)
    beta: Positive = 0.1
    """How strongly the model is held to its reference."""
    loss_type: Literal["sigmoid", "ipo", "hinge", "sigmoid_norm", "robust"] = "sigmoid"
    label_smoothing: Annotated[float, Field(strict=True, ge=0, lt=0.5)] = 0.0
    """Share of pairs assumed to be labelled the wrong way round; for ``robust``."""
    nll_weight: NonNegative = 0.0
    """Weight of the negative log-likelihood of the chosen answer, a mean over its tokens."""

    @model_validator(mode="after")
    def _everything_has_an_effect(self) -> DpoStage:
        _no_document_filters(self)
        if self.label_smoothing and self.loss_type != "robust":
            raise ValueError(
                f"label_smoothing has no effect with loss_type '{self.loss_type}'; use 'robust'"
            )
        return self


AnyStage = Annotated[CptStage | SftStage | DpoStage, Field(discriminator="kind")]


def gates_of(stage: Stage) -> tuple[Gate, ...]:
    """The stage's gates, or the defaults.

    Every target improved and every replay source was kept; the chosen answers of pairs did not lose
    probability.
    """
    if stage.gates is not None:
        return stage.gates
    metric = "accuracy" if isinstance(stage, DpoStage) else "bpb"
    targets = [source.label for source in stage.data if source.role == "target"]
    improved: list[Gate] = [Improved(metric=f"{label}/{metric}") for label in targets]
    if isinstance(stage, DpoStage):
        improved += [Displaced(metric=f"{label}/chosen_logp_change") for label in targets]
    kept = [Retained(metric=f"{s.label}/bpb") for s in stage.data if s.role == "replay"]
    return (*improved, *kept)
