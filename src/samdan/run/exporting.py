"""`samdan export`: a folder that plain transformers and vLLM load, with its card and its proof.

Everything is written into a folder beside the target, compared with the run's model, and renamed
last: what has the target's name is whole and was found to be the same.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samdan import __version__
from samdan.lm import adapter, gguf, layout, ollama, sameness
from samdan.lm.files import sha256_of, write_json
from samdan.lm.folders import appearing, require_free
from samdan.lm.model import load_model, to_best_device
from samdan.lm.skips import MODEL_TYPE
from samdan.lm.tensors import DTYPES, Checkpoint
from samdan.lm.trust import read_config, require_data_only
from samdan.records import DataError, EnvironmentFailure, GateFailed
from samdan.redaction import redacted, redacted_values, secrets_of
from samdan.report.model_card import Language, model_card
from samdan.report.numbers import mapping
from samdan.run.export_subject import LICENCE_FILES, Subject, base_dtype, subject_of

RECORD = "export.json"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """What is asked for. ``dtype``: of the files' headers (``BF16``), None: what the base has."""

    out: Path
    stage: str | None = None
    dtype: str | None = None
    shard_bytes: int = 5 << 30
    language: Language = "both"
    anyway: bool = False
    gguf: str | None = None
    converter: Path | None = None
    hub_name: str | None = None  # where it will be found: the card says so


@dataclass(frozen=True)
class Exported:
    folder: Path
    record: Mapping[str, Any]
    lines: tuple[str, ...]  # for a terminal
    without_gguf: str = ""  # why there is none though it was asked for


def export(place: str, wanted: Wanted, say: Say) -> Exported:
    """Writes the folder. ``place``: a run, a model folder, an adapter's folder or a Hub id.

    Raises DataError for what cannot be exported, GateFailed where the run does not vouch for the
    model or the exported one is not the same, EnvironmentFailure without room or a converter.
    """
    require_free(wanted.out)
    script = gguf.converter_of(wanted.converter, os.environ) if wanted.gguf else None
    with _whole(place, wanted.out, say) as found:
        subject = subject_of(found, wanted.stage)
        if subject.not_passed and not wanted.anyway:
            raise GateFailed(
                f"{place}: {subject.not_passed}. --anyway exports it all the same, and the card "
                f"will say so"
            )
        return _export(subject, wanted, script, say)


@contextmanager
def _whole(place: str, out: Path, say: Say) -> Iterator[str]:
    """The place, or of an adapter a merged model that lies beside the target for a while."""
    folder = Path(place).expanduser()
    if not (folder / adapter.CONFIG).is_file():
        yield place
        return
    merged = out.with_name(f".{out.name}.{os.getpid()}.merged.tmp")
    try:
        say("merging the adapter into its base")
        adapter.merge(folder, merged)
        yield str(merged)
    finally:
        shutil.rmtree(merged, ignore_errors=True)


def _export(subject: Subject, wanted: Wanted, script: Path | None, say: Say) -> Exported:
    config = read_config(subject.folder / "config.json")
    require_data_only(str(subject.folder))
    if config.get("model_type") == MODEL_TYPE:
        raise DataError(
            f"{subject.name}: its layers are blended as in Solar Pro, which transformers and vLLM "
            f"cannot compute; it runs in samdan only (samdan chat, samdan serve)"
        )
    if config.get("quantization_config"):
        raise DataError(f"{subject.name}: its weights are quantized; an export needs full ones")
    dtype = wanted.dtype or base_dtype(subject)
    source = Checkpoint(subject.folder)
    _require_room(source, dtype, wanted)
    _sweep(wanted.out)
    with appearing(wanted.out) as folder:
        facts = _write(subject, source, config, dtype, wanted, folder, say)
        made = _named(subject, wanted, facts)
        card = model_card(made, subject.report, wanted.language)
        (folder / "README.md").write_text(_clean(card, subject, wanted), "utf-8")
        _copy_licences(subject, folder)
        refused, weights = "", "."
        if script is not None and wanted.gguf:
            weights, refused = _gguf(script, wanted.gguf, dtype, subject, folder, say)
        heat = made["temperature"]
        text = ollama.modelfile(weights, subject.tokenizer, made["ends"], heat)
        (folder / "Modelfile").write_text(text, "utf-8")
        record = _record(subject, dtype, made, folder)
        write_json(folder / RECORD, redacted_values(record, secrets_of(os.environ)))
        require_free(wanted.out)
    return Exported(wanted.out, record, _lines(wanted, made), refused)


def _write(
    subject: Subject, source: Checkpoint, config: Mapping[str, Any], dtype: str, wanted: Wanted,
    folder: Path, say: Say,
) -> dict[str, Any]:  # fmt: skip
    """Tokenizer, settings and weights, compared with the run's; GateFailed where they differ."""
    tied = bool(config.get("tie_word_embeddings"))
    longest = config.get("max_position_embeddings")
    written = layout.plain_config(subject.folder, dtype)
    write_json(folder / "config.json", written)
    layout.write_tokenizer(subject.tokenizer, folder, longest)
    own = config.get("eos_token_id")
    ends = subject.chat.stop_tokens if subject.chat else (own if isinstance(own, list) else [own])
    pad = subject.tokenizer.pad_token_id
    known = [end for end in ends if end is not None]
    generation = layout.generation_config(subject.folder, config, known, pad)
    write_json(folder / "generation_config.json", generation)
    differs, kind, as_llama = _tokenizer(subject, folder, written)
    _require_same(subject, differs, "tokenizer")
    added = layout.zero_biases(written, dtype) if as_llama else []
    say(f"writing {len(source.tensors)} tensors as {layout.NAMES[dtype]}")
    layout.write_weights(source, folder, dtype, wanted.shard_bytes, added, tied)
    say("comparing with the run's model")
    check = _compared(subject, source, folder, dtype, tied, kind)
    _require_same(subject, list(check.differs), "model")
    sizes = [source.tensors[name].count for name in layout.names_of(source, tied)]
    return {
        "as_llama": as_llama,
        "check": check.row(),
        "parameters": sum(sizes),
        "tensors": len(sizes),
        "positions": longest,
        "vocabulary": len(subject.tokenizer),
        "dtype": layout.NAMES[dtype],
        "ends": _ends(subject, generation),
        "temperature": generation.get("temperature") if generation.get("do_sample") else None,
        "greedy": not generation.get("do_sample"),
    }


def _tokenizer(
    subject: Subject, folder: Path, config: dict[str, Any]
) -> tuple[list[str], str, bool]:
    """How plain transformers misreads the tokenizer, and by which class; whether the settings were
    made a Llama's.

    ``config`` is changed where they are.
    """
    differs, kind = _read_otherwise(subject, folder)
    llama = layout.as_llama(config) if differs else None
    if llama is None:
        return differs, kind, False
    config.clear()
    config.update(llama)
    write_json(folder / "config.json", config)
    return (*_read_otherwise(subject, folder), True)


def _read_otherwise(subject: Subject, folder: Path) -> tuple[list[str], str]:
    theirs = sameness.auto_tokenizer(folder)
    asked = subject.asked()
    found = sameness.other_tokens(subject.tokenizer, theirs, subject.texts, asked)
    return found, type(theirs).__name__


def _compared(
    subject: Subject, source: Checkpoint, folder: Path, dtype: str, tied: bool, kind: str
) -> sameness.Sameness:
    count, differs = sameness.other_weights(source, folder, dtype, tied)
    exact = written = None
    if not differs:
        model = to_best_device(load_model(str(subject.folder)))
        known = sameness.reference(model, subject.probes(), dtype)
        del model
        exact, written = sameness.logits(folder, known, dtype)
        for what, found in (("fp32", exact), (layout.NAMES[dtype], written)):
            if not (found.same or differs):
                differs = [
                    f"its logits in {what} differ by {found.rms:.3g} of their spread, more than "
                    f"{found.limit:.3g}"
                ]
    texts = len(subject.texts) + len(subject.asked())
    return sameness.Sameness(count, texts, kind, exact, written, tuple(differs))


def _require_same(subject: Subject, differs: list[str], what: str) -> None:
    if differs:
        raise GateFailed(
            f"{subject.name}: as plain transformers reads it, the exported {what} is not the "
            f"run's: {'; '.join(differs)}. Nothing was written"
        )


def _ends(subject: Subject, generation: Mapping[str, Any]) -> list[str]:
    given = generation.get("eos_token_id")
    ids = given if isinstance(given, list) else [given]
    known = [token for token in ids if isinstance(token, int)]
    return [str(subject.tokenizer.convert_ids_to_tokens(token)) for token in known]


def _named(subject: Subject, wanted: Wanted, facts: Mapping[str, Any]) -> dict[str, Any]:
    """All that the card says: of the run, of the files, and how to call them."""
    place = wanted.hub_name or wanted.out.resolve().name
    served = f"vllm serve {place} --dtype {facts['dtype']}"
    if facts["positions"]:
        served += f" --max-model-len {facts['positions']}"
    licence = subject.facts.get("base_licence")
    fine = isinstance(licence, str) and licence.replace("-", "").replace(".", "").isalnum()
    return {
        **subject.facts,
        **facts,
        "name": subject.name,
        "stage": subject.stage,
        "version": __version__,
        "not_passed": subject.not_passed,
        "chat": subject.chat is not None and _answers(subject),
        "place": place,
        "vllm": served,
        "ollama": f"ollama create {subject.name.lower()} -f Modelfile",
        "licence": (licence if fine else "other") if licence else None,
    }


def _answers(subject: Subject) -> bool:
    """Whether a stage up to this one taught more than to continue text."""
    told = [mapping(stage) for stage in subject.report.get("stages", ())]
    names = [stage.get("name") for stage in told]
    if subject.stage not in names:
        return True
    return any(stage.get("kind") != "cpt" for stage in told[: names.index(subject.stage) + 1])


def _record(
    subject: Subject, dtype: str, made: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    kept = ("name", "stage", "not_passed", "as_llama", "parameters", "licence", "base_hub",
            "base_name", "base_revision", "base_licence")  # fmt: skip
    return {
        "samdan": 1,
        "version": __version__,
        **{key: made[key] for key in kept if made.get(key) is not None},
        "dtype": layout.NAMES[dtype],
        "check": made["check"],
        "files": {
            file.name: {"bytes": file.stat().st_size, "sha256": sha256_of(file)}
            for file in sorted(folder.iterdir())
        },
    }


def _clean(text: str, subject: Subject, wanted: Wanted) -> str:
    """No secret, and no path of this machine, whoever wrote it into a message or a setting."""
    folders = [subject.folder, wanted.out, Path.cwd(), Path.home()]
    folders += [subject.base_folder] if subject.base_folder else []
    if subject.stage is not None:
        folders.append(subject.folder.parents[1])
    for path in sorted({str(folder.resolve()) for folder in folders}, key=len, reverse=True):
        if len(path) > 1:
            text = text.replace(path, Path(path).name)
    return redacted(text, secrets_of(os.environ))


def _copy_licences(subject: Subject, folder: Path) -> None:
    """The base's licence goes with what was made from it."""
    for pattern in LICENCE_FILES:
        for file in sorted(subject.base_folder.glob(pattern)) if subject.base_folder else ():
            if file.is_file():
                shutil.copyfile(file, folder / file.name)


def _gguf(
    script: Path, kind: str, dtype: str, subject: Subject, folder: Path, say: Say
) -> tuple[str, str]:
    """What the Modelfile starts from, and why it is not a GGUF file where that failed."""
    chosen = gguf.OF_DTYPE[dtype] if kind == "auto" else kind
    target = folder / f"{subject.name}-{chosen}.gguf"
    say(f"llama.cpp's converter writes {target.name}")
    try:
        gguf.convert(script, folder, target, chosen)
    except DataError as error:
        return ".", str(error)
    return f"./{target.name}", ""


def _require_room(source: Checkpoint, dtype: str, wanted: Wanted) -> None:
    numbers = sum(found.count for found in source.tensors.values())
    needed = numbers * DTYPES[dtype].itemsize * (2 if wanted.gguf else 1)
    home = next(parent for parent in wanted.out.absolute().parents if parent.exists())
    free = shutil.disk_usage(home).free
    if needed > free:
        raise EnvironmentFailure(
            f"--out {wanted.out}: the export takes {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB "
            f"are free there"
        )


def _sweep(out: Path) -> None:
    """What an export that was killed left beside the target."""
    for left in out.absolute().parent.glob(f".{out.name}.*.tmp"):
        number = left.name.removeprefix(f".{out.name}.").split(".")[0]
        if number.isdigit() and int(number) != os.getpid() and not _lives(int(number)):
            shutil.rmtree(left, ignore_errors=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _lines(wanted: Wanted, made: Mapping[str, Any]) -> tuple[str, ...]:
    check = made["check"]
    exact = check["fp32"]
    licence = made.get("base_licence") or ("none applies" if made.get("scratch") else "unknown")
    lines = [
        f"{wanted.out}: {made['parameters']:,} parameters, {made['dtype']}",
        f"same as the run's model: {check['tensors']} tensors bit by bit, {check['texts']} texts "
        f"with the same token ids, logits on {exact['positions']} positions within "
        f"{exact['rms']:.1e} of their spread (allowed {exact['limit']:.0e})",
        f"licence of the base: {licence}",
    ]
    if made["as_llama"]:
        lines.append(
            "the settings are those of a Llama that computes the same: beside a Qwen2, plain "
            "transformers would misread this tokenizer"
        )
    if made["not_passed"]:
        lines.append(f"exported anyway: {made['not_passed']}")
    place = wanted.out if not wanted.hub_name else wanted.hub_name
    return (*lines, f"serve it: {made['vllm'].replace(made['place'], str(place), 1)}")
