"""A configuration file to a mapping: YAML, JSON, or a shell script that calls the tool."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from samdan.records import RecipeError
from samdan.spec import parse_yaml, plain

# The command of a script; the word behind it (sft, pt, dpo, rlhf) says what is done.
_COMMAND = re.compile(r"\b(?:swift|trl)\s+(sft|pt|dpo|rlhf)\b")
COMMAND = "command"  # the key under which that word is handed on


def read_configuration(text: str, name: str) -> dict[str, Any]:
    """The keys of the file. Raises RecipeError where it is none of the three."""
    joined = re.sub(r"\\\s*\n", " ", text)
    line = next((row for row in joined.splitlines() if _COMMAND.search(row)), None)
    if line is None and name.endswith(".sh"):
        raise RecipeError(
            f"{name}: no command in it trains what samdan trains; expected `swift sft`, "
            f"`swift pt`, `swift rlhf`, `trl sft` or `trl dpo` (not infer, deploy, megatron)"
        )
    if line is None:
        tree = plain(parse_yaml(text, name, "learning_rate: 1e-5"))
        assert isinstance(tree, dict)
        return tree
    found = _COMMAND.search(line)
    assert found is not None
    return {COMMAND: found.group(1), **_flags(line[found.end() :], name)}


def _flags(line: str, name: str) -> dict[str, Any]:
    """``--key value value`` to a mapping; several values make a list, none makes True."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:
        raise RecipeError(f"{name}: the command cannot be read: {error}") from None
    flags: dict[str, Any] = {}
    key = ""
    for word in words:
        if word.startswith("--"):
            key, separator, value = word[2:].partition("=")
            key = key.replace("-", "_")
            flags[key] = _value(value) if separator else True
        elif key:
            before = flags[key]
            if before is True:
                flags[key] = _value(word)
            else:
                many = before if isinstance(before, list) else [before]
                flags[key] = [*many, _value(word)]
    return flags


def _value(word: str) -> Any:
    try:
        value = YAML(typ="safe").load(word)
    except YAMLError:
        return word
    return value if isinstance(value, int | float | bool | Mapping | list) else word
