"""What each step does. A step reads what the plan says it reads and returns the hash of its output.

To add one: write a function ``(run, step) -> Result`` and name it in ``STEPS``.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samdan.data.clean import clean_source
from samdan.data.copies import find_copies
from samdan.data.mixing import check_accounts, mix
from samdan.data.prepare import Guard, Preparation, prepare_source
from samdan.data.protect import Cleaned, build_guard
from samdan.data.store import KEPT, clean_parts, read_part, texts_of
from samdan.data.templates import cap_templates
from samdan.evals.items import items_of
from samdan.lm import growth
from samdan.lm.chat import ChatFormat
from samdan.lm.files import write_json
from samdan.lm.infilling import add_tokens
from samdan.lm.model import load_model, weights_hash
from samdan.lm.shards import Index, Shard, TrainingData
from samdan.lm.tokenizer import load_tokenizer, tokenizer_hash, train_tokenizer
from samdan.plan import Step, components, identity, tokenizer_sources
from samdan.recipe import AnyStage, SftStage, Source
from samdan.records import DataError
from samdan.run.context import Run, existing_base
from samdan.run.growth_plan import depth_of
from samdan.run.labels import prove_labels
from samdan.train import parallel


@dataclass(frozen=True)
class Result:
    """The hash of what a step made, and facts worth showing."""

    output: str
    facts: dict[str, Any] = field(default_factory=dict)


def make_tokenizer(run: Run, step: Step) -> Result:
    """Loads or trains the tokenizer, gives it a chat template and saves it into the run."""
    base, spec = existing_base(run.recipe), run.recipe.base.tokenizer
    if spec is not None and spec.vocab_size is not None:
        tokenizer = train_tokenizer(_texts(run), spec.vocab_size, spec.split_particles)
    elif spec is not None and spec.path is not None:
        tokenizer = load_tokenizer(spec.path)
    else:
        assert base is not None, "a base from scratch names its tokenizer"
        tokenizer = load_tokenizer(base.path, base.revision)
    added = add_tokens(tokenizer, run.recipe.added_tokens())
    chat = ChatFormat(tokenizer)
    new = [*added, *chat.new_tokens]
    folder = run.ledger.tokenizer()
    fresh(folder)
    tokenizer.save_pretrained(folder)
    facts = {
        "vocabulary": len(tokenizer),
        "chat_template": "its own" if chat.had_template else "ChatML, since it had none",
        "turn_end": tokenizer.convert_ids_to_tokens(chat.turn_end)
        if chat.turn_end is not None
        else None,
        "new_tokens": len(new),
    }
    write_json(folder.parent / "chat.json", {"new_tokens": new})
    return Result(tokenizer_hash(tokenizer), facts)


def _texts(run: Run) -> Iterator[str]:
    for stage, source in tokenizer_sources(run.recipe):
        for part in clean_parts(run.ledger.clean(stage.name, source.label)):
            run.signals.poll()
            for record in read_part(part / KEPT):
                yield from texts_of(record)


def load_base(run: Run, step: Step) -> Result:
    """Makes sure that the base can be loaded, and identifies it by its weights."""
    base = existing_base(run.recipe)
    assert base is not None
    depth_of(run.recipe)  # what cannot be grown is told now, not after the data are read
    if Path(base.path).is_dir():
        return Result(weights_hash(Path(base.path)), {"base": base.path})
    model = load_model(base.path, base.revision)
    commit = getattr(model.config, "_commit_hash", None)
    return Result(f"{base.path}@{commit or base.revision}", {"base": base.path, "commit": commit})


def clean(run: Run, step: Step) -> Result:
    """One source to clean records; goes on where it was stopped."""
    stage, source = run.stage(step.stage), _source(run, step)
    folder = run.ledger.clean(step.stage, source.label)
    _keep_what_belongs(run, step, folder)
    manifest = clean_source(stage, source, folder, run.engine, run.signals.poll)
    return Result(manifest["sha256"], _only(manifest, "records_in", "records_kept", "dropped"))


def copies(run: Run, step: Step) -> Result:
    """Which records of a stage are copies of earlier ones, or too many in one template."""
    stage = run.stage(step.stage)
    cleaned = {s.label: run.ledger.clean(stage.name, s.label) for s in stage.data}
    folder = run.ledger.copies(stage.name)
    found = find_copies(cleaned, folder, stage.dedup)
    if not isinstance(stage, SftStage):
        return Result(found["sha256"], _only(found, "copies"))
    framed = cap_templates(cleaned, folder, stage.max_template_share)
    digest = found["sha256"]
    if framed.get("left_out"):
        digest = hashlib.sha256(f"{digest} {framed['sha256']}".encode()).hexdigest()
    return Result(digest, _only(found, "copies") | {"templates": framed})


def protect(run: Run, step: Step) -> Result:
    """The index of everything that is measured on, which no stage may train on."""
    spec = run.recipe.decontaminate
    assert spec is not None, "planned only where the recipe asks for it"
    sources = (_cleaned(run, stage, source) for stage, source in run.recipe.sources())
    tasks = {task.name: items_of(task) for task in run.recipe.evaluate}
    folder = run.ledger.guard()
    found = build_guard(tasks, sources, run.recipe.seed, spec, folder)
    return Result(found["sha256"], _only(found, "items", "searched_for"))


def prepare(run: Run, step: Step) -> Result:
    """One source to one shard, its held-out records apart; proves the labels before going on."""
    stage, source = run.stage(step.stage), _source(run, step)
    folder = run.ledger.source(step.stage, source.label)
    _keep_what_belongs(run, step, folder / "search")
    chat, spec = run.chat(), run.recipe.decontaminate
    guard = Guard(run.ledger.guard(), spec) if spec else None
    given = Preparation(
        chat, run.tokenizer_folder(), run.recipe.seed, guard, run.engine, run.signals.poll
    )
    manifest = prepare_source(_cleaned(run, stage, source), folder, given)
    prove_labels(stage, source.label, Shard(folder), manifest, chat)
    counts = ("records_in", "records_trained", "records_heldout", "records_dropped")
    facts = _only(manifest, *counts)
    if manifest["infilling"]:
        facts |= {"infilling": manifest["infilling"]}
    return Result(manifest["sha256"], facts)


def _cleaned(run: Run, stage: AnyStage, source: Source) -> Cleaned:
    clean = run.ledger.clean(stage.name, source.label)
    return Cleaned(stage, source, clean, run.ledger.copies(stage.name))


def _only(manifest: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: manifest[name] for name in names}


def mix_sources(run: Run, step: Step) -> Result:
    """Weights in tokens to an index over the shards, and the stage's token accounts."""
    stage = run.stage(step.stage)
    folders = {s.label: run.ledger.source(step.stage, s.label) for s in stage.data}
    shards = {label: Shard(folder) for label, folder in folders.items()}
    mixed = mix(stage, shards, run.recipe.seed, parallel.world_size())
    if mixed.index.num_units == 0:
        raise DataError(f"stages.{stage.name}.data: there is nothing to train on")
    for label, account in mixed.accounts.items():
        _add_what_prepare_left_out(account, folders[label])
    check_accounts(mixed.accounts)
    output = mixed.index.save(run.ledger.index(step.stage))
    seen = sum(row["trained"] + row["masked"] for row in mixed.accounts.values())
    write_json(run.ledger.manifest(step.stage), {"tokens_seen": seen, "by_source": mixed.accounts})
    facts = {"tokens": seen, "units": mixed.index.num_units, "processes": parallel.world_size()}
    return Result(output, facts)


def _add_what_prepare_left_out(account: dict[str, Any], folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    held = Shard(folder / "heldout").num_tokens
    left_out = dict(manifest["tokens_dropped"]) | ({"heldout": held} if held else {})
    account["in"] += sum(left_out.values())
    account["dropped"] |= left_out
    account["records_in"] = manifest["records_in"]
    account["records_dropped"] = manifest["records_dropped"] | (
        {"heldout": manifest["records_heldout"]} if manifest["records_heldout"] else {}
    )
    account["notes"] = manifest["notes"]


def training_data(run: Run, stage: AnyStage) -> TrainingData:
    folders = [run.ledger.source(stage.name, source.label) for source in stage.data]
    return TrainingData(folders, Index.load(run.ledger.index(stage.name)))


def new_tokens(run: Run) -> tuple[int, ...]:
    """Ids that the model has never seen: the chat template's special tokens, and what grew."""
    path = run.ledger.tokenizer().parent / "chat.json"
    grown = growth.read(run.ledger.model("base")) if run.recipe.grow else None
    return (*json.loads(path.read_text("utf-8"))["new_tokens"], *(grown.new_ids if grown else ()))


def _source(run: Run, step: Step) -> Source:
    return next(s for s in run.stage(step.stage).data if s.label == step.source)


def _keep_what_belongs(run: Run, step: Step, folder: Path) -> None:
    """Finished tasks of this very step are kept; those of another recipe or of other files go."""
    mine = identity(components(step, run.ledger.outputs(), run.recipe.seed))
    marker = folder / "identity"
    if not marker.is_file() or marker.read_text("utf-8") != mine:
        fresh(folder)
        marker.write_text(mine, "utf-8")


def fresh(folder: Path) -> None:
    """An empty folder: nothing of an earlier attempt is mixed in."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


StepFunction = Callable[[Run, Step], Result]
