"""The steps that grow a base: new tokens learned from clean text, then the grown model.

``base/vocab`` needs no model, so data are prepared with the new tokens before any weights are
touched; ``base/grow`` writes ``base/model``, which the first stage starts from.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from samdan.data.protect import Cleaned, is_held
from samdan.data.store import texts_of
from samdan.grow.depth import grow_depth
from samdan.grow.model import extend_rows
from samdan.grow.rows import NewTokens, Similar
from samdan.grow.similar import similar_tokens
from samdan.grow.vocabulary import grow_vocabulary
from samdan.lm import growth
from samdan.lm.files import write_json
from samdan.lm.folders import local_folder
from samdan.lm.growth import Growth, OldPieces
from samdan.lm.model import weights_hash
from samdan.lm.tokenizer import load_tokenizer, text_encoder, tokenizer_hash
from samdan.plan import Step, vocabulary_sources
from samdan.records import DataError
from samdan.run.context import Run, existing_base
from samdan.run.steps import Result, fresh


def learn_vocabulary(run: Run, step: Step) -> Result:
    """Merges on the text of the recipe's CPT sources, held-out records left out."""
    spec = run.recipe.grow and run.recipe.grow.vocab
    assert spec, "planned only where the recipe asks for it"
    tokenizer = load_tokenizer(str(run.ledger.tokenizer()))
    made = grow_vocabulary(tokenizer, lambda: _texts(run), spec, run.signals.poll)
    found = made.learned
    if not found.new:
        raise DataError(
            f"base.grow.vocab: no pair of tokens with letters of {', '.join(spec.scripts)} occurs "
            f"{spec.min_count} times in {made.chars:,} characters; lower min_count, give more "
            f"text, or leave 'vocab' out"
        )
    folder = run.ledger.vocabulary()
    fresh(folder)
    made.tokenizer.save_pretrained(folder)
    write_json(
        folder / "learned.json",
        {
            "new": [
                {
                    "id": number,
                    "text": token.decode(errors="replace"),
                    "pieces": list(found.pieces[number]),
                    "bytes": [made.sizes[piece] for piece in found.pieces[number]],
                }
                for number, token in found.new.items()
            ],
            "merges": [[m.left, m.right, m.new, m.count] for m in found.merges],
        },
    )
    facts = {
        "new_tokens": len(found.new),
        "merges": len(found.merges),
        "rarest": min((merge.count for merge in found.merges), default=0),
        "characters": made.chars,
        "vocabulary": len(made.tokenizer),
    }
    return Result(tokenizer_hash(made.tokenizer), facts)


def _texts(run: Run) -> Iterator[str]:
    for stage, source in vocabulary_sources(run.recipe):
        ledger = run.ledger
        cleaned = Cleaned(
            stage, source, ledger.clean(stage.name, source.label), ledger.copies(stage.name)
        )
        for record, copy in cleaned.records():
            run.signals.poll()
            if copy is None and not is_held(record, cleaned, run.recipe.seed):
                yield from texts_of(record)


def grow_base(run: Run, step: Step) -> Result:
    """The base's weights with what the recipe adds, in the layout of a stage's model."""
    base, grow = existing_base(run.recipe), run.recipe.grow
    assert base is not None, "a base from scratch does not grow"
    assert grow is not None, "planned only where the recipe asks for it"
    final = run.ledger.model("base")
    staging = final.with_name(f".model.{os.getpid()}.tmp")
    deeper = final.with_name(f".model.{os.getpid()}.depth.tmp")
    for old in final.parent.glob(".model.*.tmp"):
        shutil.rmtree(old)
    source = local_folder(base.path, base.revision)
    facts: dict[str, Any] = {}
    made = Growth(old_rows=_rows(source), sources={n: run.ledger.outputs()[n] for n in step.reads})
    if grow.depth is not None:
        found = grow_depth(source, deeper, grow.depth, run.signals.poll)
        made = replace(made, new_layers=found.new_layers)
        source = deeper
        facts |= {
            "depth": grow.depth.kind,
            "layers": [found.layers_before, found.layers_after],
            "new_layers": len(found.new_layers),
            "parameters": [found.parameters_before, found.parameters_after],
        }
    if grow.vocab is not None:
        new = new_tokens_of(run)
        methods: dict[str, str] = {"input": grow.vocab.input}
        if grow.vocab.output is not None:
            methods["output"] = grow.vocab.output
        similar = _similar(run, new) if "similar" in methods.values() else ()
        before, after, used = extend_rows(
            source, staging, new, methods, grow.vocab.pad_to_multiple_of, run.recipe.seed, similar
        )
        made = Growth(before, new.ids, new.pieces, used, made.new_layers, made.sources)
        facts |= {"new_tokens": len(new.ids), "rows": [before, after]}
        shutil.rmtree(deeper, ignore_errors=True)
    else:
        deeper.rename(staging)
    run.chat().tokenizer.save_pretrained(staging)
    growth.write(staging, made)
    if final.exists():
        shutil.rmtree(final)
    staging.rename(final)
    return Result(weights_hash(final), facts)


def _similar(run: Run, new: NewTokens) -> tuple[Similar, ...]:
    encoder = text_encoder(load_tokenizer(str(run.ledger.vocabulary())))
    return similar_tokens(_texts(run), encoder, new, run.recipe.seed, run.signals.poll)


def _rows(source: Path) -> int:
    config = json.loads((source / "config.json").read_text("utf-8"))
    if not isinstance(config.get("vocab_size"), int):
        raise DataError(
            f"base.grow: {source / 'config.json'} names no 'vocab_size'; expected a model of text "
            f"alone"
        )
    return int(config["vocab_size"])


def new_tokens_of(run: Run) -> NewTokens:
    """What ``base/vocab`` learned."""
    learned = json.loads((run.ledger.vocabulary() / "learned.json").read_text("utf-8"))["new"]
    return NewTokens(
        tuple(row["id"] for row in learned),
        tuple(tuple(row["pieces"]) for row in learned),
        tuple(tuple(row["bytes"]) for row in learned),
        min(row["id"] for row in learned),
    )


def old_pieces(run: Run) -> OldPieces:
    """Prepared records as the base's own tokenizer would have encoded them."""
    new = new_tokens_of(run)
    return OldPieces(dict(zip(new.ids, new.pieces, strict=True)))
