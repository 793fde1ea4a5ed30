"""The recipe: one YAML file that declares base, sources, the three stages and what is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, TypeAdapter, ValidationError, model_validator

from samdan import aliases
from samdan.adapters import Lora
from samdan.contexts import OnDocuments
from samdan.filters import KINDS
from samdan.growing import Grow
from samdan.records import RecipeError
from samdan.removing import Decontaminate
from samdan.responses import Response
from samdan.rules import Gate, LossSpike, Monitor, NonFinite, Slow
from samdan.sources import Anneal, HeldOut, Name, Source
from samdan.spec import (
    Count,
    NonNegative,
    Positive,
    Spec,
    Whole,
    explain,
    kinds_of,
    parse_yaml,
    plain,
    require_no_secrets,
    set_value,
)
from samdan.stages import AnyStage, CptStage, DpoStage, SftStage, Stage, gates_of
from samdan.tasks import Task
from samdan.trackers import ReportTo, Tracker

__all__ = [
    "Anneal", "AnyStage", "Architecture", "CptStage", "DpoStage", "ExistingBase", "HeldOut", "Lora",
    "Recipe", "ScratchBase", "SftStage", "Source", "Stage", "gates_of", "parse", "schema",
    "with_paths",
]  # fmt: skip

# Keys whose ``path`` may be a Hub id.
MODELS = frozenset({"base", "tokenizer", "embedding", "surrogate"})
# Files and folders of the run directory, and of a stage's data folder.
RESERVED_NAMES = frozenset([
    "base", "cache", "report.html", "report.json", "recipe.yaml", "events.jsonl", "metrics.jsonl",
    "now.json", "tensorboard", "wandb", "mlflow", "trackio",
])  # fmt: skip
RESERVED_SOURCES = frozenset({"manifest.json", "README.md", "reference.npy"})
TAGS = KINDS | kinds_of(Monitor) | kinds_of(Gate) | kinds_of(Response) | kinds_of(Tracker)
TAGS |= frozenset([
    "cpt", "sft", "dpo", "existing", "scratch", "bpb", "instructions", "qa", "overlap", "open",
    "refusal", "probes", "infill", "needle", "harness",
    "multiple_choice", "cloze", "exact", "pattern", "int", "float", "ets", "eta", "ets_com", "dsir",
    "recency", "quality", "random", "tfidf", "hidden_states", "sentence_model", "ema", "last",
    "solar", "solar_pro", "llama_pro", "passthrough",
])  # fmt: skip


class TokenizerSpec(Spec):
    """Where the tokenizer comes from: files, or trained on the base's own text."""

    path: str | None = None
    vocab_size: Annotated[int, Field(strict=True, ge=300)] | None = None
    """Train a byte-level BPE of this size on the data of base and CPT stages."""
    split_particles: bool = False
    """Keep Korean particles apart from their nouns in a tokenizer that is trained."""

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
    initializer_range: Positive = 0.02
    """Standard deviation of the random weights; narrow models start better from more."""

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
    grow: Grow | None = None
    """What is added to the model before the first stage; the base is measured without it."""

    @model_validator(mode="after")
    def _own_tokenizer(self) -> ExistingBase:
        retrained = self.tokenizer is not None and self.tokenizer.vocab_size is not None
        if self.grow and self.grow.vocab and retrained:
            raise ValueError(
                "grow.vocab adds to the model's tokenizer and tokenizer.vocab_size replaces it; "
                "leave one of them out"
            )
        return self


class ScratchTraining(CptStage):
    """How a base is trained from random weights: a CPT stage with the values of a small model."""

    name: Name = "base"
    data: tuple[Source, ...] = ()
    num_train_epochs: Positive = 1
    learning_rate: Positive = 1e-3
    warmup_steps: NonNegative = 0.05
    rules: tuple[Monitor, ...] = (NonFinite(), LossSpike(), Slow())
    max_responses: Literal[0] = 0
    """Nothing is changed by itself in a base: there is no parent to go back to."""

    @model_validator(mode="after")
    def _checks(self) -> ScratchTraining:
        if self.data:
            raise ValueError("'data' of a base from scratch stands in base.data, not in base.train")
        if self.rope is not None:
            raise ValueError("a base from scratch has its positions from base.scratch.rope_theta")
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


def _only_new(stage: Any, base: Any) -> Any:
    """Of a base with identity blocks, a CPT stage trains these alone where it says nothing else.

    Wu et al. 2401.02415: the old blocks keep what they know. New tokens train with them.
    """
    grow = base.get("grow") if isinstance(base, Mapping) else None
    depth = grow.get("depth") if isinstance(grow, Mapping) else None
    kind = depth.get("kind") if isinstance(depth, Mapping) else None
    if kind != "llama_pro" or not isinstance(stage, Mapping) or stage.get("kind") != "cpt":
        return stage
    if stage.keys() & {"unfreeze", "freeze", "train_only", "lora"}:
        return stage
    assert isinstance(grow, Mapping)
    new = ["new_layers", "new_both"] if grow.get("vocab") else ["new_layers"]
    return {**stage, "unfreeze": [{"train": new}]}


class Recipe(Spec):
    """The whole file."""

    samdan: Literal[1]
    name: Name
    seed: Whole = 42
    base: Base
    stages: tuple[AnyStage, ...] = Field(min_length=1)
    evaluate: tuple[Task, ...] = ()
    decontaminate: Decontaminate | None = Decontaminate()
    """Keep evaluation items and held-out records out of the training data; null: do not look."""
    samples: tuple[str, ...] = ()
    """Prompts whose greedy answers stand side by side in the report."""
    notes: tuple[str, ...] = ()
    """Remarks that the report repeats."""
    report_to: ReportTo = ()
    """Trackers that get the run's numbers too: tensorboard, wandb, mlflow, trackio."""

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
        return {**value, "stages": [_only_new(stage, value.get("base")) for stage in stages]}

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
            if source.label in RESERVED_SOURCES:
                raise ValueError(
                    f"a source cannot be called '{source.label}'; that name is the run's own"
                )
        self._ignored(places)
        for stage in self.stages:
            named = (stage.keep_best or "").rpartition("/")[0]
            if stage.keep_best and named not in [task.name for task in self.evaluate]:
                raise ValueError(
                    f"stages.{stage.name}.keep_best: '{stage.keep_best}' is no metric of a task; "
                    f"expected '<task>/<metric>' with one of: "
                    f"{', '.join(task.name for task in self.evaluate) or 'none is listed'}"
                )
        tasks = [task.name for task in self.evaluate]
        for name in tasks:
            if tasks.count(name) > 1 or name in places:
                raise ValueError(f"two measurements are called '{name}'; rename the task")
        self._measured([*places, *tasks])
        self._probed()
        self._counted()
        return self

    def _measured(self, known: Sequence[str]) -> None:
        """A gate on what nobody measures fails, and would do so only after the stage is trained."""
        gives = {task.name: getattr(task, "metrics", ()) for task in self.evaluate}
        for stage in self.all_stages():
            for metric in (name for gate in stage.gates or () for name in gate.measures):
                if metric.partition("/")[0] not in known:
                    name = metric.partition("/")[0]
                    raise ValueError(
                        f"stage '{stage.name}' has a gate on '{metric}', but no source or "
                        f"task is called '{name}'; there are: {', '.join(known)}"
                    )
                task, _, what = metric.partition("/")
                if gives.get(task) and what not in gives[task]:
                    raise ValueError(
                        f"stage '{stage.name}' has a gate on '{metric}', but the task gives "
                        f"{', '.join(f'{task}/{one}' for one in gives[task])}"
                    )

    def _probed(self) -> None:
        documents = {s.label for stage, s in self.sources() if stage.kind == "cpt"}
        for task in self.evaluate:
            if isinstance(task, OnDocuments) and task.source and task.source not in documents:
                raise ValueError(
                    f"task '{task.name}': no CPT stage has a source '{task.source}'; there are: "
                    f"{', '.join(sorted(documents)) or 'none'}"
                )

    def _counted(self) -> None:
        if self.grow is None or self.grow.vocab is None:
            return
        documents = {s.label for stage, s in self.sources() if stage.kind == "cpt"}
        for label in self.grow.vocab.sources or documents or ("",):
            if label not in documents:
                raise ValueError(
                    f"base.grow.vocab.sources: no CPT stage has a source '{label}'; there are: "
                    f"{', '.join(sorted(documents)) or 'none, and new tokens are learned on them'}"
                )

    def _ignored(self, sources: Mapping[str, Any]) -> None:
        known = [*sources, *(task.name for task in self.evaluate)]
        for name in self.decontaminate.ignore if self.decontaminate else ():
            if name not in known:
                raise ValueError(
                    f"decontaminate.ignore: no source or task is called '{name}'; there are: "
                    f"{', '.join(known)}"
                )

    def all_stages(self) -> tuple[AnyStage, ...]:
        """The stages in order, the base's own pre-training first where there is one."""
        own = (self.base.stage(),) if isinstance(self.base, ScratchBase) else ()
        return (*own, *self.stages)

    def added_tokens(self) -> tuple[str, ...]:
        """Tokens that the tokenizer is given where it lacks them: those of fill-in-the-middle."""
        asked = [s.fim for _, s in self.sources() if s.fim is not None and s.fim.add_missing]
        return tuple(dict.fromkeys(name for fim in asked for name in fim.names))

    def sources(self) -> Iterator[tuple[AnyStage, Source]]:
        for stage in self.all_stages():
            for source in stage.data:
                yield stage, source

    @property
    def grow(self) -> Grow | None:
        """What is added to the base, if anything is."""
        return self.base.grow if isinstance(self.base, ExistingBase) else None

    def stage(self, name: str) -> AnyStage:
        for stage in self.all_stages():
            if stage.name == name:
                return stage
        raise RecipeError(
            f"no stage is called '{name}'; there are: {', '.join(s.name for s in self.stages)}"
        )


def parse(
    text: str,
    name: str,
    overrides: Sequence[str] = (),
    hint: aliases.Hint = lambda text: None,
) -> Recipe:
    """YAML text to a recipe. ``name`` stands in error messages. Raises RecipeError.

    ``hint`` is told of every field that stands there under another tool's name.
    """
    tree = parse_yaml(text, name)
    aliases.require_a_recipe(tree, name)
    aliases.rename(tree, name, hint)
    for assignment in overrides:
        set_value(tree, aliases.assignment(assignment, hint))
    given = plain(tree)
    require_no_secrets(given, name)
    try:
        return _RECIPE.validate_python(given)
    except ValidationError as error:
        raise explain(error, tree, name, TAGS) from None


def schema() -> dict[str, Any]:
    """JSON schema of the recipe, for editors."""
    found: dict[str, Any] = _any_of(_RECIPE.json_schema())
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


def _any_of(node: Any) -> Any:
    """With ``oneOf`` a stage whose name implies its ``kind`` would match several, and so none."""
    if isinstance(node, dict):
        return {"anyOf" if key == "oneOf" else key: _any_of(value) for key, value in node.items()}
    return [_any_of(value) for value in node] if isinstance(node, list) else node


def with_paths(recipe: Recipe, resolve: Callable[[str, bool], str]) -> Recipe:
    """The recipe with every path replaced by ``resolve(path, could be a Hub id)``."""

    def walk(value: Any, key: str) -> Any:
        if isinstance(value, dict):
            return {
                k: resolve(v, key in MODELS)
                if k == "path" and isinstance(v, str)
                else walk(v, k)
                for k, v in value.items()
            }
        return [walk(item, key) for item in value] if isinstance(value, list | tuple) else value

    return _RECIPE.validate_python(walk(recipe.model_dump(exclude_unset=True), ""))


_RECIPE: TypeAdapter[Recipe] = TypeAdapter(Recipe)
