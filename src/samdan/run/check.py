"""`samdan check`: what can be known before training, and a list of what could not be verified."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from samdan.contexts import Infill
from samdan.data.formats import records
from samdan.data.sources import LEFT_OUT, files_of
from samdan.data.tokens import Encoder
from samdan.data.views import require_libraries
from samdan.evals.harness import MISSING
from samdan.evals.items import items_of
from samdan.grow.tokens import pieces_of
from samdan.growing.config import grown_config, layers_of
from samdan.growing.depth import layout
from samdan.lm import growth
from samdan.lm.batch import Encoded
from samdan.lm.chat import ChatFormat, show_labels
from samdan.lm.infilling import Infilling, add_tokens
from samdan.lm.instruct import looks_instructed_by_likelihood, looks_instructed_by_name
from samdan.lm.model import load_model, require_targets
from samdan.lm.scoring import Scorer
from samdan.lm.skips import read_config
from samdan.lm.tokenizer import load_tokenizer, train_tokenizer
from samdan.lm.trust import require_data_only
from samdan.plan import tokenizer_sources, vocabulary_sources
from samdan.recipe import AnyStage, ExistingBase, Recipe, ScratchBase, Source
from samdan.records import DataError, Document, Drop, RecipeError, Record, SamdanError
from samdan.run.growth_plan import depth_of
from samdan.run.labels import judge_labels
from samdan.run.loading import is_hub_id
from samdan.run.not_trained import not_trained
from samdan.tasks import BUILT_IN, Harness, Overlap, Task, locations

LOOKED_AT = 300
HUB_SECONDS = 10.0
TOKENIZER_SAMPLE = 100  # documents of each source, for a tokenizer that is yet to be trained
SHOWN = 2


@dataclass
class Findings:
    """``shown``: decoded records, labels marked; ``problems`` refuse, ``unverified`` only tell."""

    fine: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    unverified: list[str] = field(default_factory=list)
    shown: list[tuple[str, str]] = field(default_factory=list)


def check(recipe: Recipe) -> Findings:
    """Looks at base, tokenizer, data, labels; reads the network only for what the recipe names."""
    found = Findings()
    chat = _tokenizer(recipe, found)
    _base(recipe, found)
    _collect(found, partial(_not_trained, recipe, chat, found))
    _collect(found, partial(_depth, recipe, found))
    _collect(found, partial(_vocabulary, recipe, chat, found))
    for stage, source in recipe.sources():
        _collect(found, partial(_source, stage, source, chat, recipe.seed, found))
    for task in recipe.evaluate:
        _collect(found, partial(_task, task, chat, found))
    for stage in recipe.stages:
        _collect(found, partial(_groups, recipe, stage, found))
    return found


def _task(task: Task, chat: ChatFormat | None, found: Findings) -> None:
    """Files that are not there, libraries that are not installed, data that lie on the Hub."""
    for place in locations(task):
        if place.startswith(BUILT_IN):
            found.fine.append(f"evaluate.{task.name}: the set that comes with samdan")
        elif Path(place).exists():
            found.fine.append(f"evaluate.{task.name}: {Path(place).name} is there")
        else:
            found.problems.append(f"evaluate.{task.name}: there is no file {place}")
    if all(Path(place).is_file() or place.startswith(BUILT_IN) for place in locations(task)):
        items_of(task)
    if isinstance(task, Infill) and task.order != "prefix_only" and chat is not None:
        Infilling(task.tokens, chat, f"evaluate.{task.name}.tokens")
    if isinstance(task, Harness) and find_spec("lm_eval") is None:
        found.problems.append(f"evaluate.{task.name}: {MISSING}")
    elif isinstance(task, Harness) and task.path is None and len(task.data) < len(task.tasks):
        found.unverified.append(f"evaluate.{task.name}: its data are on the Hub")
    if isinstance(task, Overlap) and "chrf" in task.metrics and find_spec("sacrebleu") is None:
        found.problems.append(
            f"evaluate.{task.name}: chrF needs sacreBLEU: pip install 'samdan[metrics]'"
        )


def _depth(recipe: Recipe, found: Findings) -> None:
    """Whether the base has the layers that the recipe's way of growing needs."""
    if recipe.grow is None or recipe.grow.depth is None:
        return
    layers = depth_of(recipe)
    if layers is None:
        found.unverified.append("base.grow.depth: the model's layers are not known here")
    else:
        found.fine.append(f"base.grow.depth: {layers[0]} layers become {layers[1]}")


def _collect(found: Findings, look: Callable[[], None]) -> None:
    try:
        look()
    except SamdanError as error:
        found.problems.append(str(error))


def _tokenizer(recipe: Recipe, found: Findings) -> ChatFormat | None:
    spec, base = recipe.base.tokenizer, recipe.base
    try:
        if spec is not None and spec.vocab_size is not None:
            texts = list(_texts(recipe))
            if not texts:
                raise DataError("base.tokenizer: there is no text to train it on")
            found.fine.append(
                f"base.tokenizer: will be trained, {spec.vocab_size} tokens (looked at a sample)"
            )
            tokenizer = train_tokenizer(texts, spec.vocab_size, spec.split_particles)
            return _chat(tokenizer, recipe)
        path = spec.path if spec is not None and spec.path else getattr(base, "path", "")
        if is_hub_id(path):
            return _hub_tokenizer(recipe, path, getattr(base, "revision", None), found)
        chat = _chat(load_tokenizer(path), recipe)
    except SamdanError as error:
        found.problems.append(str(error))
        return None
    except (OSError, ValueError) as error:
        found.problems.append(f"base.tokenizer: cannot be loaded: {str(error).splitlines()[0]}")
        return None
    origin = "its own chat template" if chat.had_template else "no chat template: ChatML is added"
    found.fine.append(f"base.tokenizer: {len(chat.tokenizer)} tokens, {origin}")
    return chat


def _chat(tokenizer: Any, recipe: Recipe) -> ChatFormat:
    add_tokens(tokenizer, recipe.added_tokens())
    return ChatFormat(tokenizer)


def _vocabulary(recipe: Recipe, chat: ChatFormat | None, found: Findings) -> None:
    """Whether the tokenizer takes more merges, and what learning them needs is there."""
    spec = recipe.grow.vocab if recipe.grow else None
    if spec is None or chat is None:
        return
    pieces = pieces_of(chat.tokenizer)
    if spec.morphemes and find_spec("kiwipiepy") is None:
        raise DataError(
            "base.grow.vocab.morphemes needs kiwipiepy: pip install 'samdan[corpus]'"
        )
    found.fine.append(
        f"base.grow.vocab: up to {spec.merges} tokens from id {pieces.first_new} on, on "
        f"{len(vocabulary_sources(recipe))} sources"
    )


def _hub_tokenizer(
    recipe: Recipe, path: str, revision: str | None, found: Findings
) -> ChatFormat | None:
    try:
        chat = _chat(load_tokenizer(*_at_hand(path, revision)), recipe)
    except (OSError, ValueError, DataError):
        found.unverified.append(
            f"base: {path} is on the Hub, which cannot be reached from here; its tokenizer, chat "
            f"template and so the labels were not looked at"
        )
        return None
    found.fine.append(f"base.tokenizer: {path}, {len(chat.tokenizer)} tokens")
    return chat


def _at_hand(path: str, revision: str | None) -> tuple[str, str | None]:
    """The Hub's model, or its copy in the local cache where the Hub does not answer.

    Asked once: the libraries would try again for a minute. Raises OSError without either.
    """
    from huggingface_hub import HfApi, errors, try_to_load_from_cache

    try:
        HfApi().model_info(path, revision=revision, timeout=HUB_SECONDS)
    except (errors.HTTPError, OSError) as error:
        cached = try_to_load_from_cache(path, "tokenizer_config.json", revision=revision)
        if not isinstance(cached, str):
            raise OSError(f"{path}: the Hub does not answer: {error}") from None
        return str(Path(cached).parent), None
    return path, revision


def _texts(recipe: Recipe) -> Iterator[str]:
    for stage, source in tokenizer_sources(recipe):
        for record in islice(records(stage.kind, source), TOKENIZER_SAMPLE):
            if isinstance(record, Document):
                yield record.text


def _base(recipe: Recipe, found: Findings) -> None:
    base = recipe.base
    if isinstance(base, ScratchBase):
        found.fine.append("base: random weights, trained by the run")
        return
    reads_text = any(stage.kind == "cpt" for stage in recipe.stages)
    reason = looks_instructed_by_name(base.path)
    if reason is None and Path(base.path).is_dir() and reads_text and not base.allow_instruct:
        reason = _by_likelihood(base)
    if reason and reads_text and not base.allow_instruct:
        found.problems.append(
            f"base.path: {base.path} looks instruction-tuned ({reason}), and continued "
            f"pre-training would undo that. Take the base model, or set base.allow_instruct: true."
        )
    elif is_hub_id(base.path):
        found.unverified.append(f"base: the weights of {base.path} were not looked at")
    elif not Path(base.path).is_dir():
        found.problems.append(f"base.path: there is no folder {base.path}")
    else:
        found.fine.append(f"base: {base.path}")


def _not_trained(recipe: Recipe, chat: ChatFormat | None, found: Findings) -> None:
    base = recipe.base
    if isinstance(base, ExistingBase) and Path(base.path).is_dir():
        found.unverified += not_trained(Path(base.path), chat)


def _by_likelihood(base: ExistingBase) -> str | None:
    tokenizer = load_tokenizer(base.path)
    if tokenizer.chat_template is None:
        return None
    return looks_instructed_by_likelihood(Scorer(load_model(base.path)), ChatFormat(tokenizer))


def _source(
    stage: AnyStage, source: Source, chat: ChatFormat | None, seed: int, found: Findings
) -> None:
    where = f"stages.{stage.name}.data.{source.label}"
    if source.hub is not None:
        found.unverified.append(f"{where}: {source.hub} is on the Hub and was not read")
        return
    if not _exists(source):
        _missing(source, where, found)
        return
    require_libraries(source.filters)
    looked = list(islice(records(stage.kind, source), LOOKED_AT))
    good = [record for record in looked if not isinstance(record, Drop)]
    dropped = [record for record in looked if isinstance(record, Drop)]
    bad = [drop for drop in dropped if drop.reason not in LEFT_OUT]
    if len(bad) > max(1, stage.max_bad_rows * len(looked)):
        first = bad[0]
        raise DataError(
            f"{where}: {len(bad)} of the first {len(looked)} rows are bad; the first is "
            f"{first.origin}: {first.reason} {first.detail}".rstrip()
        )
    if not good:
        raise DataError(f"{where}: holds no records")
    if chat is None:
        found.unverified.append(f"{where}: labels (no tokenizer)")
        return
    encode = Encoder(stage, source, chat, seed)
    # Whole, where it matters whether a document fits into a pack.
    looked_at = good if source.fim else [_short(record) for record in good]
    encoded = [record for record in encode(looked_at) if isinstance(record, Encoded)]
    longest = [max(r.span, r.prefix + len(r) - r.span) for r in encoded]
    cut = 0 if stage.kind == "cpt" else sum(length > stage.max_length for length in longest)
    judge_labels(stage, source.label, encoded, cut, len(looked), chat)
    for record in encoded[:SHOWN]:
        found.shown.append((where, show_labels(record, chat.tokenizer, 120)))
    found.fine.append(
        f"{where}: {len(good)} of the first {len(looked)} rows are good, labels proved"
    )
    if infilled := encode.report():
        found.fine.append(
            f"{where}.fim: {infilled['share']:.0%} of them with the middle last (psm "
            f"{infilled['psm']}, spm {infilled['spm']}; too long for one pack "
            f"{infilled['too_long']})"
        )


def _missing(source: Source, where: str, found: Findings) -> None:
    """A path that leads nowhere: an error for what must be there."""
    try:
        files_of(source)
    except DataError as error:
        found.problems.append(f"{where}: {error}")


def _exists(source: Source) -> bool:
    try:
        return bool(files_of(source))
    except DataError:
        return False


def _short(record: Record) -> Record:
    return replace(record, text=record.text[:20_000]) if isinstance(record, Document) else record


def _groups(recipe: Recipe, stage: AnyStage, found: Findings) -> None:
    """Every pattern on parameter names must match something; the names come from an empty model."""
    _new_parts(recipe, stage)
    if stage.lora is not None and not isinstance(stage.lora.target_modules, str):
        modules = [name.rpartition(".")[0] for name in _parameter_names(recipe) or ()]
        if modules:
            require_targets(stage.lora.target_modules, modules)
    given = {key: tuple(getattr(stage, key)) for key in ("lr_groups", "train_only", "freeze")}
    if not any(given.values()) or (stage.lora is not None and not stage.lr_groups):
        return
    names = _parameter_names(recipe)
    for key, patterns in given.items():
        if not patterns or (stage.lora is not None and key != "lr_groups"):
            continue  # of adapters, whose names are not known here
        if names is None:
            found.unverified.append(
                f"stages.{stage.name}.{key}: the model's parameters are not known here"
            )
            continue
        for pattern in patterns:
            if not any(re.search(pattern, name) for name in names):
                raise RecipeError(
                    f"stages.{stage.name}.{key}: '{pattern}' matches no parameter; names look "
                    f"like '{names[0]}', '{names[-1]}'"
                )
        found.fine.append(f"stages.{stage.name}.{key}: every pattern matches")


def _new_parts(recipe: Recipe, stage: AnyStage) -> None:
    """New rows and layers can only learn where something grows, or has grown."""
    base = recipe.base
    if isinstance(base, ExistingBase):
        grown = base.grow is not None or (Path(base.path) / growth.FILE).is_file()
        if grown or not Path(base.path).is_dir():
            return
    keys = [key for key in ("new_rows_lr", "new_layers_lr") if getattr(stage, key) is not None]
    for number, phase in enumerate(getattr(stage, "unfreeze", None) or ()):
        if all(new for _, new in phase.places):
            keys.append(f"unfreeze[{number}] ('{phase.name}')")
    if keys:
        raise RecipeError(
            f"stages.{stage.name}.{keys[0]}: the base has no new rows or layers, as nothing grows; "
            f"add base.grow, or leave it out"
        )


def _parameter_names(recipe: Recipe) -> list[str] | None:
    import torch
    from transformers import AutoModelForCausalLM

    base = recipe.base
    if isinstance(base, ScratchBase):
        layers = range(base.scratch.num_hidden_layers)
        parts = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                 "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "input_layernorm",
                 "post_attention_layernorm")  # fmt: skip
        inner = [f"model.layers.{n}.{part}.weight" for n in layers for part in parts]
        return ["model.embed_tokens.weight", *inner, "model.norm.weight", "lm_head.weight"]
    if not Path(base.path).is_dir():
        return None
    require_data_only(base.path)
    config = read_config(base.path)
    if recipe.grow is not None and recipe.grow.depth is not None:
        told = config.to_dict()
        after = layout(recipe.grow.depth, layers_of(told, base.path))
        config = type(config).from_dict(grown_config(told, after, base.path))
    with torch.device("meta"):
        return [name for name, _ in AutoModelForCausalLM.from_config(config).named_parameters()]
