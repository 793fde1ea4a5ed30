"""The data that another tool's configuration names, as sources of a recipe."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

_FILE = re.compile(r"\.(jsonl?|csv|tsv|parquet|txt|md|gz|arrow)$", re.IGNORECASE)
_HUB = re.compile(r"^[A-Za-z0-9][\w.-]*/[\w.-]+$")
# LLaMA-Factory's columns to ours, by formatting.
_ALPACA = {"prompt": "instruction", "query": "input", "response": "output", "system": "system",
           "history": "history", "chosen": "chosen", "rejected": "rejected"}  # fmt: skip
_SHAREGPT = {"messages": "conversations", "chosen": "chosen", "rejected": "rejected",
             "system": "system"}  # fmt: skip
Taken = tuple[list[dict[str, Any]], list[str], dict[str, str]]  # sources, keys used, no counterpart


def sources(
    tool: str, tree: Mapping[str, Any], kind: str, registry: Mapping[str, Any]
) -> Taken:
    """Sources, the keys that they came from, and what of them could not be taken over.

    ``registry``: LLaMA-Factory's dataset_info.json, where it was found.
    """
    if tool == "llamafactory":
        return _llamafactory(tree, kind, registry)
    if tool == "axolotl":
        return _axolotl(tree, kind)
    if tool == "trl":
        return _trl(tree)
    return _swift(tree)


def distinct(found: Sequence[dict[str, Any]]) -> None:
    """Gives sources that would be called alike names of their own."""
    seen: dict[str, int] = {}
    for source in found:
        where = str(source.get("path") or source.get("hub") or "data")
        label = str(source.get("name") or _label(PurePosixPath(where).name.split(".")[0]))
        seen[label] = seen.get(label, 0) + 1
        if seen[label] > 1:
            source["name"] = f"{label}-{seen[label]}"


def place(path: str) -> dict[str, Any]:
    """``path`` or ``hub``: a name such as ``owner/name`` without an ending is a Hub id."""
    if _HUB.match(path) and not _FILE.search(path):
        return {"hub": path}
    return {"path": path}


def entries_of(value: Any) -> list[Any]:
    """Mappings and names of a list, or the one that stands there without a list."""
    listed = value if isinstance(value, list) else [value]
    return [one for one in listed if one and isinstance(one, str | Mapping)]


def _names(value: Any) -> list[str]:
    """A list, or names divided by commas."""
    if isinstance(value, str):
        return [name.strip() for name in value.split(",") if name.strip()]
    return [str(name) for name in value] if isinstance(value, Sequence) else []


def _llamafactory(tree: Mapping[str, Any], kind: str, registry: Mapping[str, Any]) -> Taken:
    found: list[dict[str, Any]] = []
    lost: dict[str, str] = {}
    folder = str(tree.get("dataset_dir") or "data")
    names = _names(tree.get("dataset"))
    for name in names:
        entry = registry.get(name)
        if not isinstance(entry, Mapping):
            found.append({"path": f"{folder}/{name}.jsonl", "name": _label(name)})
            lost[f"dataset {name}"] = (
                f"its file stands in {folder}/dataset_info.json, which was not found; "
                f"set the path"
            )
            continue
        where = entry.get("file_name")
        source = place(str(entry.get("hf_hub_url")))
        if where:
            source = {"path": f"{folder}/{where}"}
        columns = _columns(entry, kind)
        found.append(
            source | {"name": _label(name)} | ({"columns": columns} if columns else {})
        )
    used = ["dataset", "dataset_dir"]
    try:
        probs = [float(share) for share in _names(tree.get("interleave_probs"))]
    except ValueError:
        probs = []
    if probs and len(probs) == len(found):
        for source, share in zip(found, probs, strict=True):
            source["weight"] = share
        used.append("interleave_probs")
        lost["mix_strategy"] = "its shares count rows; here they count tokens"
    most = tree.get("max_samples")
    if isinstance(most, int):
        used.append("max_samples")
        for source in found:
            source["max_records"] = most
    return found, used, lost


def _columns(entry: Mapping[str, Any], kind: str) -> dict[str, str]:
    theirs = entry.get("columns")
    table = _SHAREGPT if entry.get("formatting") == "sharegpt" else _ALPACA
    if kind == "cpt":
        table = {"prompt": "text"}
    if not isinstance(theirs, Mapping):
        return {}
    return {
        table[key]: str(value)
        for key, value in theirs.items()
        if key in table and table[key] != value
    }


def _axolotl(tree: Mapping[str, Any], kind: str) -> Taken:
    key = "pretraining_dataset" if tree.get("pretraining_dataset") else "datasets"
    found, lost = [], {}
    for number, entry in enumerate(entries_of(tree.get(key))):
        given = {"path": entry} if isinstance(entry, str) else dict(entry)
        files = given.get("data_files")
        path = str(files[0] if isinstance(files, list) else files or given.get("path"))
        source = {"path": path} if given.get("ds_type") and not files else place(path)
        if "hub" in source:
            source |= _named(given, ("name", "subset"), ("split", "split"))
        form = str(given.get("type") or "").split(".")[0]
        if form in ("alpaca", "sharegpt") and kind == "sft":
            source["format"] = form
        columns = {
            ours: str(given[theirs])
            for theirs, ours in (
                ("field_messages", "messages"), ("field_chosen", "chosen"),
                ("field_rejected", "rejected"), ("text_column", "text"), ("field", "text"),
            )
            if given.get(theirs) and given[theirs] != ours
        }  # fmt: skip
        found.append(source | ({"columns": columns} if columns else {}))
        if isinstance(files, list) and len(files) > 1:
            lost[f"datasets[{number}].data_files"] = "only the first is taken; a path may be a glob"
        for name in ("message_property_mappings", "shards", "conversation", "preprocess_shards"):
            if given.get(name):
                lost[f"datasets[{number}].{name}"] = "there is nothing like it here"
    return found, [key], lost


def _trl(tree: Mapping[str, Any]) -> Taken:
    mixture = tree.get("dataset_mixture")
    entries = tree.get("datasets") or (mixture.get("datasets") if isinstance(mixture, dict) else ())
    found, lost = [], {}
    for one in entries_of(entries):
        entry = {"path": one} if isinstance(one, str) else one
        source: dict[str, Any] = place(str(entry.get("id") or entry.get("path")))
        if "hub" in source:
            source |= _named(entry, ("config", "subset"), ("name", "subset"), ("split", "split"))
        if entry.get("data_files"):
            source = {"path": str(_names(entry["data_files"])[0])}
        if entry.get("fraction") is not None:
            lost["fraction"] = (
                f"{source.get('hub') or source.get('path')}: it takes this share of the rows; set "
                f"max_records, or a weight in tokens"
            )
        if entry.get("weight") is not None:
            source["weight"] = float(entry["weight"])
            lost["weight"] = "theirs is a share of the rows of a data set; here it counts tokens"
        found.append(source)
    if tree.get("dataset_name"):
        source = place(str(tree["dataset_name"]))
        if "hub" in source:
            source |= _named(tree, ("dataset_config", "subset"), ("dataset_train_split", "split"))
        found.append(source)
    used = ["datasets", "dataset_mixture", "dataset_name", "dataset_config", "dataset_train_split"]
    return found, [key for key in used if key in tree], lost


def _swift(tree: Mapping[str, Any]) -> Taken:
    found = []
    given = tree.get("dataset")
    for name in _names(given):
        path, _, most = name.partition("#")
        path, _, subset = path.partition(":")
        source = place(path)
        if most.isdigit():
            source["max_records"] = int(most)
        if subset and "hub" in source:
            source["subset"] = subset
        found.append(source)
    return found, ["dataset"], {}


def _named(given: Mapping[str, Any], *names: tuple[str, str]) -> dict[str, Any]:
    """What is given of their names, under ours."""
    return {ours: given[theirs] for theirs, ours in names if given.get(theirs)}


def _label(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9가-힣_-]+", "-", PurePosixPath(name).name).strip("-") or "data"
