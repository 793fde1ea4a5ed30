"""What is exported: a stage of a run with everything known about it, or a model folder alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any

from samdan.data.store import KEPT, clean_parts, read_part, texts_of
from samdan.lm.chat import ChatFormat, TemplateError
from samdan.lm.folders import local_folder
from samdan.lm.layout import stored_dtype
from samdan.lm.model import load_chat, weights_hash
from samdan.lm.sameness import HARD
from samdan.lm.tensors import Checkpoint
from samdan.lm.tokenizer import load_tokenizer
from samdan.recipe import ExistingBase, Recipe, ScratchBase
from samdan.records import DataError, Document, Drop, Message, Record
from samdan.run.accepted import accepted, effective
from samdan.run.ledger import Ledger, read_json
from samdan.run.loading import load_recipe
from samdan.run.reporting import assemble

PER_SOURCE = 4  # records of each source whose logits are compared; of texts, twelve times as many
LICENCE_FILES = ("LICENSE*", "NOTICE*", "LICENCE*")
_FRONT = re.compile(r"\A---\n(.*?)\n---", re.DOTALL)
_FIELD = r"(?m)^{}:[ \t]*[\"']?([^\"'\n\[\]{{}}#]{{1,100}}?)[\"']?[ \t]*$"


@dataclass(frozen=True)
class Subject:
    """A model folder, and what the run says about it."""

    folder: Path
    name: str
    tokenizer: Any
    chat: ChatFormat | None  # None: the model has no chat template
    stage: str | None = None
    report: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)  # for the card
    not_passed: str = ""  # why the run does not vouch for it
    base_folder: Path | None = None
    texts: Sequence[str] = HARD  # by which tokenizers are compared
    prompts: Sequence[Sequence[Message]] = ()
    records: Sequence[Record] = ()  # whose logits are compared

    def probes(self) -> list[list[int]]:
        """Token ids that the run's model and the exported one are both shown."""
        found: list[list[int]] = []
        for messages in self.prompts:
            if self.chat is not None:
                found.append(self.chat.prompt(messages))
        for record in self.records:
            found.append(self._encoded(record))
        encoded = (self.tokenizer(text, add_special_tokens=False).input_ids for text in HARD)
        return [ids for ids in chain(found, encoded) if ids]

    def _encoded(self, record: Record) -> list[int]:
        if self.chat is not None and not isinstance(record, Document):
            made = self.chat.encode(record)
            if not isinstance(made, Drop):
                return [int(token) for token in made.tokens[: made.span]]
        text = "\n".join(texts_of(record))
        ids: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        return ids

    def asked(self) -> list[tuple[list[dict[str, str]], list[int]]]:
        """Dialogues with the token ids that the run asks the model with."""
        if self.chat is None:
            return []
        found = []
        for messages in (*self.prompts, (Message("user", "안녕하세요?"),)):
            try:
                ids = self.chat.prompt(messages)
            except TemplateError:
                continue
            found.append(([{"role": m.role, "content": m.content} for m in messages], ids))
        return found


def subject_of(place: str, stage: str | None) -> Subject:
    """``place``: a run, a model folder or a Hub id. Raises DataError where none is there."""
    folder = Path(place).expanduser()
    if (folder / "recipe.yaml").is_file():
        return _of_run(folder, stage)
    if stage is not None:
        raise DataError(f"--stage {stage}: {place} is no run (it has no recipe.yaml)")
    found = local_folder(place)
    if not (found / "config.json").is_file():
        raise DataError(
            f"{place}: neither a model folder (it has no config.json) nor a run (no recipe.yaml)"
        )
    name = found.resolve().parent.name if found.name == "model" else Path(place).name
    tokenizer = load_tokenizer(str(found.resolve()))
    chat = ChatFormat(tokenizer) if tokenizer.chat_template else None
    hub = place if not folder.is_dir() else None
    facts = {"base_licence": licence_in(found), "base_hub": hub}
    return Subject(found, name, tokenizer, chat, facts=facts, base_folder=found)


def _of_run(folder: Path, stage: str | None) -> Subject:
    ledger = Ledger(folder, writes=False)
    given = load_recipe(ledger.recipe_file)
    recipe = effective(given, accepted(ledger, given))
    names = [one.name for one in recipe.all_stages()]
    chosen = stage or names[-1]
    have = [name for name in names if (ledger.model(name) / "config.json").is_file()]
    if chosen not in names:
        raise DataError(f"--stage {chosen}: this run has no such stage; it has {', '.join(names)}")
    if chosen not in have:
        which = f"it has those of {', '.join(have)}: name one by --stage" if have else "it has none"
        raise DataError(f"{folder}: stage '{chosen}' has no model yet; {which}")
    model = ledger.model(chosen)
    chat = load_chat(str(model.resolve()))
    base = recipe.base
    base_folder = _base_folder(base) if isinstance(base, ExistingBase) else None
    report = read_json(folder / "report.json")
    if not report or report.get("status") != "done":
        report = assemble(ledger, recipe)
    told = names[: names.index(chosen) + 1]
    records = _records(ledger, recipe, told)
    return Subject(
        folder=model,
        name=f"{recipe.name}-{chosen}",
        tokenizer=chat.tokenizer,
        chat=chat,
        stage=chosen,
        report=report,
        facts=_facts(ledger, recipe, base_folder),
        not_passed=_not_passed(ledger, told, model),
        base_folder=base_folder,
        texts=[*HARD, *(text for record in records for text in texts_of(record))],
        prompts=[(Message("user", text),) for text in recipe.samples],
        records=_dealt(records, PER_SOURCE * 4),
    )


def _facts(ledger: Ledger, recipe: Recipe, base_folder: Path | None) -> dict[str, Any]:
    base = recipe.base
    sources = {
        f"{stage.name}/{source.label}": {"hub": source.hub, "revision": source.revision}
        for stage in recipe.all_stages()
        for source in stage.data
    }
    if isinstance(base, ScratchBase):
        return {"scratch": True, "sources": sources}
    loaded = ledger.done().get("base/load")
    return {
        "base_hub": None if Path(base.path).is_absolute() else base.path,
        "base_name": Path(base.path).name,
        "base_revision": (loaded.facts.get("commit") if loaded else None) or base.revision,
        "base_licence": licence_in(base_folder) if base_folder else None,
        "sources": sources,
    }


def _not_passed(ledger: Ledger, told: Sequence[str], model: Path) -> str:
    """Why the run does not vouch for the model: a gate, or weights that it never saw."""
    done = ledger.done()
    for name in told:
        if name == "base":
            continue
        gate = read_json(ledger.gate(name)) if f"{name}/gate" in done else {}
        if not gate:
            return f"stage '{name}' was not judged: the run has not come to its gate"
        if gate.get("gate") != "passed":
            why = "; ".join(str(reason) for reason in gate.get("why", ()))
            return f"stage '{name}' did not pass its gate ({why or 'no reason is kept'})"
    trained = done.get(f"{told[-1]}/train")
    if trained is None or trained.output != weights_hash(model):
        return f"the weights of stage '{told[-1]}' are not those that the run trained and measured"
    return ""


def _records(ledger: Ledger, recipe: Recipe, told: Sequence[str]) -> list[Record]:
    """The first records of every source of every stage, where they are still there."""
    found: list[Record] = []
    for stage in recipe.all_stages():
        if stage.name not in told:
            continue
        for source in stage.data:
            folder = ledger.clean(stage.name, source.label)
            if (folder / "manifest.json").is_file():
                found += islice(_kept(folder), PER_SOURCE * 12)
    return found


def _kept(folder: Path) -> Iterator[Record]:
    for part in clean_parts(folder):
        if (part / KEPT).is_file():
            yield from read_part(part / KEPT)


def _dealt(records: Sequence[Record], count: int) -> list[Record]:
    """Some of each source and kind, in turn: they lie one source behind another."""
    step = PER_SOURCE * 12
    groups = [records[start : start + step] for start in range(0, len(records), step)]
    dealt = (one for row in zip_longest(*groups) for one in row if one is not None)
    return list(islice(dealt, count))


def _base_folder(base: ExistingBase) -> Path | None:
    """Where the base lies; of one from the Hub its local copy, without asking the network."""
    if Path(base.path).is_dir():
        return Path(base.path)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(base.path, revision=base.revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        return None


def base_dtype(subject: Subject) -> str:
    """The precision of the base's weights where they can be read, else of the model's own."""
    for folder in (subject.base_folder, subject.folder):
        if folder is not None and any(folder.glob("*.safetensors")):
            found = stored_dtype(Checkpoint(folder))
            return found if found in ("F32", "BF16", "F16") else "F32"
    return "F32"


def licence_in(folder: Path) -> str | None:
    """The licence that a model folder names: in its card's metadata, or by its licence's title."""
    card = folder / "README.md"
    if card.is_file():
        front = _FRONT.match(card.read_text("utf-8", errors="replace").replace("\r\n", "\n"))
        for key in ("license_name", "license"):
            named = re.search(_FIELD.format(key), front[1]) if front else None
            if named and named[1].strip() not in ("unknown", "other"):
                return named[1].strip()
    for pattern in LICENCE_FILES:
        for file in sorted(folder.glob(pattern)):
            if file.is_file():
                head = file.read_text("utf-8", errors="replace")[:2000]
                title = next((line.strip() for line in head.splitlines() if line.strip()), "")
                if re.search(r"apache license", head, re.IGNORECASE) and "2.0" in head:
                    return "apache-2.0"
                return "mit" if title.lower() == "mit license" else title[:100] or file.name
    return None
