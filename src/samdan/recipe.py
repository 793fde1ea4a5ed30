"""The recipe: one YAML file that declares base, sources, the three stages and what is measured.

Field names inside a stage are those of ``transformers.TrainingArguments`` and TRL. The defaults are
the golden values: CPT 2 epochs at 1e-5, SFT 3 at 2e-5, DPO 1 at 5e-7 with beta 0.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, TypeAdapter, ValidationError, model_validator

from samdan.filters import Filter
from samdan.records import RecipeError
from samdan.rules import Gate, Improved, LossSpike, Monitor, NonFinite, Retained
from samdan.spec import (
    Count,
    NonNegative,
    Positive,
    Share,
    Spec,
    Whole,
    explain,
    parse_yaml,
    plain,
    set_value,
)
from samdan.tasks import Task

# Names become folders of the run directory and parts of metric names.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9가-힣][A-Za-z0-9가-힣_.-]*$", max_length=64)]
RESERVED_NAMES = frozenset({"base", "cache", "report.html", "report.json"})
TAGS = frozenset(
    "cpt sft dpo existing scratch length hangul_share repeated_lines non_finite loss_spike improved "
    "retained at_least at_most bpb multiple_choice cloze exact pattern int float".split()
)


class Source(Spec):
    """One data location with a role and a weight in tokens."""

    path: str | None = None
    """A file, a directory or a glob, relative to the recipe's folder."""
    hub: str | None = None
    """A data set on the Hugging Face Hub; the only thing here that reads the network."""
    revision: str | None = None
    """Branch, tag or commit of ``hub``; the commit it stood for is written into the run."""
    split: str = "train"
    """Split of ``hub``."""
    name: Name | None = None
    """Names the held-out set (``<name>/bpb``); defaults to the file's name."""
    role: Literal["target", "replay", "synthetic"] = "target"
    weight: Positive | None = None
    """Share of the stage's tokens, relative to the other sources' weights."""
    format: Literal[
        "auto", "text", "messages", "prompt_completion", "alpaca", "sharegpt", "preference"
    ] = "auto"
    columns: dict[str, str] = {}
    """Our column name to the file's, for example ``{prompt: Q, completion: A}``."""
    filters: tuple[Filter, ...] = ()
    """Document filters, applied in order."""
    max_records: Count | None = None
    """Read only so many records, taken from the start."""

    @model_validator(mode="after")
    def _one_location(self) -> Source:
        if (self.path is None) == (self.hub is None):
            raise ValueError("expected exactly one of 'path' and 'hub'")
        if self.revision is not None and self.hub is None:
            raise ValueError("'revision' belongs to 'hub'; a local path has none")
        return self

    @property
    def label(self) -> str:
        """The source's name: as given, or the stem of its file."""
        if self.name:
            return self.name
        location = self.hub or self.path or ""
        stem = PurePath(re.sub(r"[*?\[].*$", "", location).rstrip("/") or "data").name
        return re.sub(r"[^A-Za-z0-9가-힣_-]+", "-", stem.split(".")[0]).strip("-") or "data"


class HeldOut(Spec):
    """Which documents are kept from training, for measuring. Chosen by a hash of their content."""

    share: Share = 0.02
    max_records: Count = 200
    """No more than about so many per source, however large it is."""


class Lora(Spec):
    """Low-rank adapters (peft), merged into the weights when the stage is exported."""

    r: Count = 16
    alpha: Positive = 32
    dropout: Share = 0.0
    target_modules: tuple[str, ...] | Literal["all-linear"] = "all-linear"
    quantize: Literal["none", "4bit", "8bit"] = "none"
    """QLoRA: frozen weights in 4 or 8 bits (needs a GPU and the ``quant`` extra)."""


class Stage(Spec):
    """What the three stages share."""

    name: Name
    data: tuple[Source, ...] = Field(min_length=1)
    num_train_epochs: Positive
    """One epoch is one pass over the target sources."""
    max_steps: Count | None = None
    """Ends the stage earlier; the schedule is laid over this many steps."""
    learning_rate: Positive
    embedding_lr: NonNegative | None = None
    """Rate of the input embeddings; CPT's default is a tenth of ``learning_rate``."""
    lm_head_lr: NonNegative | None = None
    """Rate of the output head; CPT's default is a tenth of ``learning_rate``."""
    lr_groups: dict[str, NonNegative] = {}
    """Regular expression on parameter names to rate; one that matches nothing is an error."""
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
    """``adamw_8bit`` needs bitsandbytes; ``adamw_offload`` keeps the states in the host's memory."""
    max_length: Count
    logging_steps: Count
    save_steps: Count
    eval_steps: Count
    save_total_limit: Count = 2
    gradient_checkpointing: bool = False
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of the computation; weights that are trained and the optimizer's states are always fp32."""
    dropout: Share = 0.0
    """On what each attention and MLP block adds, drawn from (seed, step, record)."""
    lora: Lora | None = None
    heldout: HeldOut = HeldOut()
    max_bad_rows: Share = 0.01
    """More unreadable or invalid rows than this share fail the step."""
    max_truncated: Share = 0.05
    """``check`` refuses when a larger share of the records would be cut or dropped by length."""
    rules: tuple[Monitor, ...] = (NonFinite(), LossSpike())
    gates: tuple[Gate, ...] | None = None
    """Default: the targets improved, and replay sources kept their level within 3%."""

    @model_validator(mode="after")
    def _checks(self) -> Stage:
        labels = [source.label for source in self.data]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"two sources are called '{twice[0]}'; give each a 'name' of its own")
        if not any(source.role == "target" for source in self.data):
            raise ValueError("no source has role 'target', and an epoch is a pass over the targets")
        weights = [source.weight is not None for source in self.data]
        if any(weights) and not all(weights):
            raise ValueError("either every source has a 'weight' or none has")
        for pattern in self.lr_groups:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"lr_groups: '{pattern}' is not a regular expression: {error}") from None
        return self

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
    adapts_to: Literal["language", "domain"] = "language"
    """Decides the replay share when no source has a weight: 25% for a new language, 5% for a domain."""

    @property
    def replay_share(self) -> float:
        """Share of replay tokens when the sources have no weights (Ibrahim et al. 2403.08763)."""
        return 0.25 if self.adapts_to == "language" else 0.05


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
    beta: Positive = 0.1
    """How strongly the model is held to its reference."""
    loss_type: Literal["sigmoid", "ipo", "hinge", "sigmoid_norm", "robust"] = "sigmoid"
    label_smoothing: Annotated[float, Field(strict=True, ge=0, lt=0.5)] = 0.0
    """Share of pairs assumed to be labelled the wrong way round; for ``robust``."""
    nll_weight: NonNegative = 0.0
    """Weight of the negative log-likelihood of the chosen answer, a mean over its tokens."""

    @model_validator(mode="after")
    def _smoothing_has_an_effect(self) -> DpoStage:
        if self.label_smoothing and self.loss_type != "robust":
            raise ValueError(
                f"label_smoothing has no effect with loss_type '{self.loss_type}'; use 'robust'"
            )
        return self


AnyStage = Annotated[CptStage | SftStage | DpoStage, Field(discriminator="kind")]


class TokenizerSpec(Spec):
    """Where the tokenizer comes from: files, or trained on the base's own text."""

    path: str | None = None
    vocab_size: Annotated[int, Field(strict=True, ge=300)] | None = None
    """Train a byte-level BPE of this size on the data of base and stages."""

    @model_validator(mode="after")
    def _one_origin(self) -> TokenizerSpec:
        if (self.path is None) == (self.vocab_size is None):
            raise ValueError("expected exactly one of 'path' and 'vocab_size'")
        return self


class Architecture(Spec):
    """The shape of a model that starts from random weights (Qwen2's architecture)."""

    hidden_size: Count
    num_hidden_layers: Count
    num_attention_heads: Count
    num_key_value_heads: Count | None = None
    intermediate_size: Count | None = None
    tie_word_embeddings: bool = True
    rope_theta: Positive = 10000.0
    max_position_embeddings: Count = 4096

    @model_validator(mode="after")
    def _divides(self) -> Architecture:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError("hidden_size must be a multiple of num_attention_heads")
        if self.num_key_value_heads and self.num_attention_heads % self.num_key_value_heads:
            raise ValueError("num_attention_heads must be a multiple of num_key_value_heads")
        return self


class ExistingBase(Spec):
    """A model on disk or on the Hub."""

    path: str
    """A folder in Hugging Face layout, or a Hub id such as ``Qwen/Qwen2.5-7B``."""
    revision: str | None = None
    """Branch, tag or commit on the Hub; the commit is written into the run."""
    tokenizer: TokenizerSpec | None = None
    allow_instruct: bool = False
    """Accept an instruction-tuned model as the base of continued pre-training."""


class ScratchTraining(CptStage):
    """How a base is trained from random weights: a CPT stage with the values of a small model."""

    name: Name = "base"
    data: tuple[Source, ...] = ()
    num_train_epochs: Positive = 1
    learning_rate: Positive = 1e-3
    warmup_steps: NonNegative = 0.05

    @model_validator(mode="after")
    def _checks(self) -> ScratchTraining:
        return self


class ScratchBase(Spec):
    """A model that the run itself trains from random weights."""

    scratch: Architecture
    tokenizer: TokenizerSpec
    data: tuple[Source, ...] = Field(min_length=1)
    train: ScratchTraining = ScratchTraining()

    def stage(self) -> CptStage:
        """The pre-training as a stage."""
        given = self.train.model_dump(exclude_unset=True)
        return CptStage.model_validate(
            ScratchTraining().model_dump(exclude={"data"})
            | given
            | {"name": "base", "data": self.data, "gates": self.train.gates or ()}
        )


def _base_tag(value: Any) -> str:
    scratch = "scratch" in value if isinstance(value, Mapping) else isinstance(value, ScratchBase)
    return "scratch" if scratch else "existing"


Base = Annotated[
    Annotated[ExistingBase, Tag("existing")] | Annotated[ScratchBase, Tag("scratch")],
    Discriminator(_base_tag),
]


class Recipe(Spec):
    """The whole file."""

    samdan: Literal[1]
    name: Name
    seed: Whole = 42
    base: Base
    stages: tuple[AnyStage, ...] = Field(min_length=1)
    evaluate: tuple[Task, ...] = ()
    samples: tuple[str, ...] = ()
    """Prompts whose greedy answers stand side by side in the report."""
    notes: tuple[str, ...] = ()
    """Remarks that the report repeats."""

    @model_validator(mode="before")
    @classmethod
    def _kind_from_name(cls, value: Any) -> Any:
        """``name: cpt`` implies ``kind: cpt`` and the other way round."""
        if not isinstance(value, Mapping) or not isinstance(value.get("stages"), Sequence):
            return value
        stages = [
            {**stage, "kind": stage.get("kind", stage.get("name"))}
            if isinstance(stage, Mapping) and ("kind" in stage or "name" in stage)
            else stage
            for stage in value["stages"]
        ]
        return {**value, "stages": stages}

    @model_validator(mode="after")
    def _names(self) -> Recipe:
        names = [stage.name for stage in self.stages]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two stages are called '{name}'; give each a 'name' of its own")
            if name in RESERVED_NAMES:
                raise ValueError(f"a stage cannot be called '{name}'; that name is the run's own")
        places: dict[str, tuple[str | None, str | None]] = {}
        for stage, source in self.sources():
            place = (source.path, source.hub)
            if places.setdefault(source.label, place) != place:
                raise ValueError(
                    f"two different sources are called '{source.label}' (the second in stage "
                    f"'{stage.name}'); held-out sets need names of their own: set 'name'"
                )
        tasks = [task.name for task in self.evaluate]
        for name in tasks:
            if tasks.count(name) > 1 or name in places:
                raise ValueError(f"two measurements are called '{name}'; rename the task")
        return self

    def all_stages(self) -> tuple[AnyStage, ...]:
        """The stages in order, the base's own pre-training first where there is one."""
        own = (self.base.stage(),) if isinstance(self.base, ScratchBase) else ()
        return (*own, *self.stages)

    def sources(self) -> Iterator[tuple[AnyStage, Source]]:
        for stage in self.all_stages():
            for source in stage.data:
                yield stage, source

    def stage(self, name: str) -> AnyStage:
        for stage in self.all_stages():
            if stage.name == name:
                return stage
        raise RecipeError(
            f"no stage is called '{name}'; there are: {', '.join(s.name for s in self.stages)}"
        )


def gates_of(stage: Stage) -> tuple[Gate, ...]:
    """The stage's gates, or the defaults: every target improved, every replay source was kept."""
    if stage.gates is not None:
        return stage.gates
    metric = "accuracy" if isinstance(stage, DpoStage) else "bpb"
    improved = [Improved(metric=f"{s.label}/{metric}") for s in stage.data if s.role == "target"]
    kept = [Retained(metric=f"{s.label}/bpb") for s in stage.data if s.role == "replay"]
    return (*improved, *kept)


def parse(text: str, name: str, overrides: Sequence[str] = ()) -> Recipe:
    """YAML text to a recipe. ``name`` stands in error messages. Raises RecipeError."""
    tree = parse_yaml(text, name)
    for assignment in overrides:
        set_value(tree, assignment)
    try:
        return _RECIPE.validate_python(plain(tree))
    except ValidationError as error:
        raise explain(error, tree, name, TAGS) from None


def schema() -> dict[str, Any]:
    """JSON schema of the recipe, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_RECIPE.json_schema()}


def with_paths(recipe: Recipe, resolve: Callable[[str, bool], str]) -> Recipe:
    """The recipe with every path replaced by ``resolve(path, could be a Hub id)``."""

    def walk(value: Any, key: str) -> Any:
        if isinstance(value, dict):
            return {
                k: resolve(v, key in ("base", "tokenizer")) if k == "path" and isinstance(v, str) else walk(v, k)
                for k, v in value.items()
            }
        return [walk(item, key) for item in value] if isinstance(value, list | tuple) else value

    return _RECIPE.validate_python(walk(recipe.model_dump(exclude_unset=True), ""))


_RECIPE: TypeAdapter[Recipe] = TypeAdapter(Recipe)
