"""A recipe to its steps: what has to be done, what each step reads, and why one is done again.

Pure: the shell hands in fingerprints and outputs of finished steps. The identity of a step is a
hash of the recipe fields that change its result and of the outputs of the steps before it; two runs
with equal identities need the step once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from samdan.recipe import AnyStage, DpoStage, Recipe, ScratchBase, Source, gates_of
from samdan.records import RecipeError
from samdan.selecting import read_paths
from samdan.tasks import Task
from samdan.tasks import locations as task_locations

# Bumped when the same inputs lead to other results: old results are then made again.
VERSION = 2
# Bumped when evaluation gives other metrics of the same model.
MEASURED = 3
# Fields of a stage that change how it is watched, not what it computes.
_WATCHING = frozenset([
    "name", "data", "logging_steps", "save_steps", "eval_steps", "save_total_limit", "rules",
    "gates", "max_responses", "max_bad_rows", "max_truncated", "heldout", "kind", "adapts_to",
    "replay_share", "anneal", "dedup", "shard", "compile",
])  # fmt: skip
_PREPARING = ("kind", "max_length", "heldout", "max_bad_rows")
_CLEANING = ("kind", "max_bad_rows")
_NONE: Mapping[str, Sequence[Mapping[str, Any]]] = {}
MORPHEMES = "morphemes"  # names the fingerprint of what analyses Korean
# Of a source, what is looked at behind cleaning, or is no property of its content.
_LATER = {"weight", "epochs", "role", "path", "select", "fim"}
# Of ``dedup``, what the signatures are made by; the rest is decided when they are compared.
_SIGNATURES = ("near", "ngram", "bands", "rows", "paragraphs", "min_paragraph")


@dataclass(frozen=True)
class Step:
    """One thing to do. ``reads``: steps whose output it uses; ``fields``: what the recipe says."""

    name: str  # "cpt/train", "cpt/prepare/handbook"
    verb: str
    stage: str
    reads: tuple[str, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""


def steps(
    recipe: Recipe,
    fingerprints: Mapping[str, str],
    until: str | None = None,
    responses: Mapping[str, Sequence[Mapping[str, Any]]] = _NONE,
) -> tuple[Step, ...]:
    """All steps in order. ``fingerprints``: of the files behind every path of the recipe;
    ``responses``: by stage, what its rules changed so far (``recipe`` holds the changes already).

    Data are prepared before anything is trained, so that bad rows are found before time is spent.
    """
    if until not in (None, "base"):
        recipe.stage(until)
    wanted = _until([stage.name for stage in recipe.stages], until)
    chosen = [stage for stage in recipe.stages if stage.name in wanted]
    base = recipe.base.stage() if isinstance(recipe.base, ScratchBase) else None
    tokenizer = _tokenizer_step(recipe, fingerprints)
    # Of all stages, also behind ``until``: what one stage holds out, no other may train on.
    cleaned = [s for stage in recipe.all_stages() for s in _clean_steps(stage, fingerprints)]
    if recipe.decontaminate is not None:
        cleaned.append(_protect_step(recipe, cleaned, fingerprints))
    if base is not None:
        planned = [*cleaned, tokenizer, *_data_steps(recipe, base, fingerprints)]
        planned.append(_scratch_step(recipe, base))
    else:
        # What can fail at once comes before what takes hours.
        early = [] if tokenizer.reads else [tokenizer]
        late = [tokenizer] if tokenizer.reads else []
        fields = _base_fields(recipe, fingerprints)
        planned = [*early, Step("base/load", "load", "base", (), fields), *cleaned, *late]
        planned += growing_steps(recipe, fingerprints)
    # The base alone is measured on what all stages hold out.
    for stage in recipe.stages if until == "base" else chosen:
        planned += _data_steps(recipe, stage, fingerprints)
    heldout = [s.name for s in planned if s.verb == "prepare"]
    planned.append(_evaluate_step(recipe, "base", base_step(recipe), heldout, fingerprints))
    if recipe.grow is not None:
        planned.append(_healing_step(planned[-1], heldout))
    previous: str | None = None
    for stage in chosen:
        planned += _training_steps(recipe, stage, previous, heldout, fingerprints)
        previous = stage.name
    return tuple(_responded(step, responses) for step in planned)


def _responded(step: Step, responses: Mapping[str, Sequence[Mapping[str, Any]]]) -> Step:
    """A train step is another one after every response, also where the fields came out equal."""
    if step.verb != "train" or not responses.get(step.stage):
        return step
    return replace(step, fields={**step.fields, "responses": list(responses[step.stage])})


def base_step(recipe: Recipe) -> str:
    """The step whose output is the base that every stage is compared with: as it came."""
    return "base/train" if isinstance(recipe.base, ScratchBase) else "base/load"


def parent_step(recipe: Recipe, stage: str | None) -> str:
    """The step whose output is what a stage starts from: an earlier stage, or the (grown) base."""
    if stage is not None:
        return f"{stage}/train"
    return "base/grow" if recipe.grow else base_step(recipe)


def tokenizer_step(recipe: Recipe) -> str:
    """The step whose output is the tokenizer of all stages."""
    return "base/vocab" if recipe.grow and recipe.grow.vocab else "base/tokenizer"


# What the vocabulary is learned by; the rest says how its rows begin.
_LEARNING = frozenset({"merges", "min_count", "sources", "scripts", "morphemes"})


def growing_steps(recipe: Recipe, fingerprints: Mapping[str, str]) -> list[Step]:
    """New tokens, which need no model, and the grown model."""
    grow = recipe.grow
    if grow is None:
        return []
    planned: list[Step] = []
    reads: tuple[str, ...] = ("base/load", tokenizer_step(recipe))
    if grow.vocab is not None:
        places = vocabulary_sources(recipe)
        copies = dict.fromkeys(f"{stage.name}/copies" for stage, _ in places)
        texts = (*(clean_step(*place) for place in places), *copies)
        fields = grow.vocab.model_dump(mode="json", include=set(_LEARNING))
        fields["heldout"] = {stage.name: stage.heldout.share for stage, _ in places}
        if grow.vocab.morphemes:
            fields[MORPHEMES] = fingerprints.get(MORPHEMES)
        planned.append(Step("base/vocab", "vocab", "base", ("base/tokenizer", *texts), fields))
        if "similar" in (grow.vocab.input, grow.vocab.output):
            reads += texts
    grown = grow.model_dump(mode="json")
    if grow.vocab is not None:
        grown["vocab"] = grow.vocab.model_dump(mode="json", exclude=set(_LEARNING))
    return [*planned, Step("base/grow", "grow", "base", reads, grown)]


def vocabulary_sources(recipe: Recipe) -> list[tuple[AnyStage, Source]]:
    """The text that new tokens are learned on."""
    wanted = recipe.grow.vocab.sources if recipe.grow and recipe.grow.vocab else ()
    found = tokenizer_sources(recipe)
    return [place for place in found if not wanted or place[1].label in wanted]


def parent_stage(recipe: Recipe, stage: str) -> str | None:
    """The stage before, or None for the base."""
    names = [s.name for s in recipe.stages]
    position = names.index(stage)
    return names[position - 1] if position else None


def components(step: Step, outputs: Mapping[str, str], seed: int) -> dict[str, Any]:
    """Everything that the step's result depends on, by name. Needs the outputs of what it reads."""
    own = {f"recipe: {key}": value for key, value in step.fields.items()}
    read = {f"result of {name}": outputs[name] for name in step.reads}
    return {"samdan": VERSION, "step": step.verb, "seed": seed} | own | read


def identity(parts: Mapping[str, Any]) -> str:
    canonical = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()


def why_stale(parts: Mapping[str, Any], before: Mapping[str, Any] | None) -> str | None:
    """Why a step has to be done (again): None when nothing changed since it was done."""
    if before is None:
        return "not done yet"
    changed = []
    for key in sorted(parts.keys() | before.keys()):
        old, new = before.get(key), parts.get(key)
        if json.dumps(old, sort_keys=True, default=str) == json.dumps(
            new, sort_keys=True, default=str
        ):
            continue
        changed.append(_difference(key, old, new))
    return "; ".join(changed) or None


def _difference(key: str, old: Any, new: Any) -> str:
    if key.startswith(("result of ", "recipe: files")):
        return f"{key.removeprefix('recipe: ')} changed"
    return f"{key} was {_short(old)}, is {_short(new)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _until(names: Sequence[str], until: str | None) -> set[str]:
    """Of "base" no stage: the base is made or loaded, and measured."""
    if until == "base":
        return set()
    return set(names if until is None else names[: names.index(until) + 1])


def _tokenizer_step(recipe: Recipe, fingerprints: Mapping[str, str]) -> Step:
    spec = recipe.base.tokenizer
    fields: dict[str, Any] = {"tokenizer": spec.model_dump(mode="json") if spec else None}
    reads: tuple[str, ...] = ()
    if not isinstance(recipe.base, ScratchBase):
        fields |= {"base": recipe.base.path, "revision": recipe.base.revision}
        fields["files of base"] = fingerprints.get(recipe.base.path)
    if spec is not None and spec.vocab_size is not None:
        reads = tuple(clean_step(*place) for place in tokenizer_sources(recipe))
    elif spec is not None and spec.path is not None:
        fields["files"] = fingerprints.get(spec.path)
    if added := recipe.added_tokens():
        fields["added tokens"] = list(added)
    return Step("base/tokenizer", "tokenizer", "base", reads, fields)


def tokenizer_sources(recipe: Recipe) -> list[tuple[AnyStage, Source]]:
    """What a new tokenizer is trained on: the text of the base's and the CPT stages' sources."""
    return [(stage, source) for stage, source in recipe.sources() if stage.kind == "cpt"]


def clean_step(stage: AnyStage, source: Source) -> str:
    return f"{stage.name}/clean/{source.label}"


def _base_fields(recipe: Recipe, fingerprints: Mapping[str, str]) -> dict[str, Any]:
    base = recipe.base
    if isinstance(base, ScratchBase):
        raise RecipeError("a base from scratch is trained, not loaded")
    return {"base": base.path, "revision": base.revision, "files": fingerprints.get(base.path)}


def _clean_steps(stage: AnyStage, fingerprints: Mapping[str, str]) -> list[Step]:
    """Per source: read, clean, filter; then what is a copy, within and across the sources."""
    dumped = stage.model_dump(mode="json")
    cleaned = []
    for source in stage.data:
        fields: dict[str, Any] = {key: dumped[key] for key in _CLEANING}
        fields |= source.model_dump(mode="json", exclude=_LATER)
        fields["signatures"] = {key: (dumped["dedup"] or {}).get(key) for key in _SIGNATURES}
        fields["files"] = fingerprints.get(_location(source))
        name = clean_step(stage, source)
        cleaned.append(Step(name, "clean", stage.name, (), fields, source.label))
    reads = tuple(step.name for step in cleaned)
    copies = {"dedup": dumped["dedup"]}
    if dumped.get("max_template_share") is not None:
        copies["max_template_share"] = dumped["max_template_share"]
    return [*cleaned, Step(f"{stage.name}/copies", "copies", stage.name, reads, copies)]


def _protect_step(
    recipe: Recipe, cleaned: Sequence[Step], fingerprints: Mapping[str, str]
) -> Step:
    """The index of what is measured on: every task's items, every source's held-out records."""
    fields = {
        "decontaminate": recipe.model_dump(mode="json", include={"decontaminate"}),
        "heldout": {s.name: s.heldout.model_dump(mode="json") for s in recipe.all_stages()},
        "evaluate": {task.name: _read_by(task, fingerprints) for task in recipe.evaluate},
    }
    return Step("base/protect", "protect", "base", tuple(s.name for s in cleaned), fields)


def _data_steps(
    recipe: Recipe, stage: AnyStage, fingerprints: Mapping[str, str]
) -> list[Step]:
    prepares = [_prepare_step(recipe, stage, source, fingerprints) for source in stage.data]
    mixing = {
        "weights": {s.label: [s.role, s.weight, s.epochs] for s in stage.data},
        "anneal": stage.anneal.model_dump(mode="json") if stage.anneal else None,
        "num_train_epochs": stage.num_train_epochs,
        "max_steps": stage.max_steps,
        "max_length": stage.max_length,
        "units_per_step": stage.units_per_step,
        "replay_share": stage.replay,
    }
    reads = tuple(step.name for step in prepares)
    return [*prepares, Step(f"{stage.name}/mix", "mix", stage.name, reads, mixing)]


def _prepare_step(
    recipe: Recipe, stage: AnyStage, source: Source, fingerprints: Mapping[str, str]
) -> Step:
    dumped = stage.model_dump(mode="json")
    fields: dict[str, Any] = {key: dumped[key] for key in _PREPARING}
    reads: tuple[str, ...] = (
        tokenizer_step(recipe), clean_step(stage, source), f"{stage.name}/copies",
    )  # fmt: skip
    if recipe.decontaminate is not None:
        reads = (*reads, "base/protect")
        fields["decontaminate"] = recipe.decontaminate.model_dump(mode="json")
    if source.select is not None:
        fields["select"] = source.select.model_dump(mode="json")
        fields["files of select"] = [fingerprints.get(path) for path in read_paths(source.select)]
        fields[MORPHEMES] = fingerprints.get(MORPHEMES)
    if source.fim is not None:
        fields["fim"] = source.fim.model_dump(mode="json")
    name = f"{stage.name}/prepare/{source.label}"
    return Step(name, "prepare", stage.name, reads, fields, source.label)


def numbers(stage: AnyStage) -> dict[str, Any]:
    """The fields that change what training computes."""
    dumped = stage.model_dump(mode="json")
    found = {k: v for k, v in dumped.items() if k not in _WATCHING}
    averaged = stage.average is not None and stage.average.kind == "last"
    return found | ({"save_steps": stage.save_steps} if averaged else {})


def _scratch_step(recipe: Recipe, base: AnyStage) -> Step:
    assert isinstance(recipe.base, ScratchBase)
    fields = numbers(base) | {"scratch": recipe.base.scratch.model_dump(mode="json")}
    return Step("base/train", "train", "base", ("base/tokenizer", "base/mix"), fields)


def _training_steps(
    recipe: Recipe,
    stage: AnyStage,
    previous: str | None,
    heldout: Sequence[str],
    fingerprints: Mapping[str, str],
) -> list[Step]:
    parent = parent_step(recipe, previous)
    reads: tuple[str, ...] = (tokenizer_step(recipe), parent, f"{stage.name}/mix")
    planned = []
    if isinstance(stage, DpoStage):
        name = f"{stage.name}/reference"
        fields = ("max_length", "precision", "keeps_copies")
        keyed = {field: getattr(stage, field) for field in fields}
        planned.append(Step(name, "reference", stage.name, reads, keyed))
        reads = (*reads, name)
    train = Step(f"{stage.name}/train", "train", stage.name, reads, numbers(stage))
    evaluate = _evaluate_step(recipe, stage.name, train.name, heldout, fingerprints)
    before = f"{previous or 'base'}/evaluate"
    gates: dict[str, Any] = {
        "gates": [g.model_dump(mode="json", exclude={"respond"}) for g in gates_of(stage)]
    }
    if any(gate.kind == "preferred" for gate in gates_of(stage)):
        gates["votes"] = fingerprints.get(f"votes/{stage.name}")
    gate = Step(
        f"{stage.name}/gate", "gate", stage.name, (evaluate.name, before, "base/evaluate"), gates
    )
    return [*planned, train, evaluate, gate]


def _evaluate_step(
    recipe: Recipe, stage: str, model: str, heldout: Sequence[str], fingerprints: Mapping[str, str]
) -> Step:
    tasks = [task.model_dump(mode="json") for task in recipe.evaluate]
    fields = {
        "metrics": MEASURED,
        "evaluate": tasks,
        "samples": list(recipe.samples),
        "files": [_read_by(task, fingerprints) for task in recipe.evaluate],
    }
    return Step(f"{stage}/evaluate", "evaluate", stage, (model, *heldout), fields)


def _healing_step(base: Step, heldout: Sequence[str]) -> Step:
    """The grown model before it trains, beside the base as it came."""
    reads = ("base/grow", base.name, *heldout)
    return Step("base/healing", "healing", "base", reads, base.fields)


def _read_by(task: Task, fingerprints: Mapping[str, str]) -> str | list[str | None] | None:
    """The content behind a task: of its one file in most cases."""
    found = [fingerprints.get(place) for place in task_locations(task)]
    return found[0] if len(found) == 1 else found or None


def _location(source: Source) -> str:
    return source.path or f"hub:{source.hub}@{source.revision}"


def locations(recipe: Recipe) -> list[str]:
    """Every path (or ``hub:`` address) whose content the steps depend on."""
    found = [_location(source) for _, source in recipe.sources()]
    found += [place for task in recipe.evaluate for place in task_locations(task)]
    found += [path for _, s in recipe.sources() if s.select for path in read_paths(s.select)]
    spec = recipe.base.tokenizer
    if spec is not None and spec.path is not None:
        found.append(spec.path)
    if not isinstance(recipe.base, ScratchBase):
        found.append(recipe.base.path)
    return list(dict.fromkeys(found))
