"""The base of everything that is read from a recipe, and the one place where its errors are worded.

A spec is frozen and forbids unknown keys. Errors name file, line, column, what was found, what was
expected and the nearest known key; they never show a traceback or a library's name.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from samdan.records import RecipeError
from samdan.redaction import redacted, secret_in

MAX_BRACKETS = 200  # open at once in a YAML text; nobody nests so deep

# Strict, so that `beta: true` or `learning_rate: "fast"` is an error and not a number.
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
Count = Annotated[int, Field(strict=True, ge=1)]
Whole = Annotated[int, Field(strict=True, ge=0)]

# What other tools call our fields: answered with our name instead of the nearest spelling.
OTHER_NAMES = {
    "lr": "learning_rate",
    "epochs": "num_train_epochs",
    "num_epochs": "num_train_epochs",
    "batch_size": "per_device_train_batch_size",
    "micro_batch_size": "per_device_train_batch_size",
    "grad_accum": "gradient_accumulation_steps",
    "accumulation": "gradient_accumulation_steps",
    "cutoff_len": "max_length",
    "sequence_len": "max_length",
    "seq_length": "max_length",
    "model_max_length": "max_length",
    "max_seq_len": "max_length",
    "pref_beta": "beta",
    "rl_beta": "beta",
    "pref_loss": "loss_type",
    "pref_ftx": "nll_weight",
    "rpo_alpha": "nll_weight",
    "lr_scheduler": "lr_scheduler_type",
    "warmup": "warmup_steps",
    "warmup_ratio": "warmup_steps",
    "model_name_or_path": "path",
    "base_model": "base",
    "model": "base",
    "dataset": "data",
    "datasets": "data",
    "embedding_learning_rate": "embedding_lr",
    "lora_r": "lora",
    "lora_rank": "lora",
    "use_peft": "lora",
    "tasks": "evaluate",
    "eval": "evaluate",
}


class Spec(BaseModel):
    """Frozen, validated, unknown keys forbidden."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _no_unknown_keys(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        known = {field.alias or name for name, field in cls.model_fields.items()}
        unknown = [str(key) for key in value if key not in known]
        if unknown:
            raise PydanticCustomError(
                "unknown_key", "{hint}", {"key": unknown[0], "hint": nearest_key(unknown[0], known)}
            )
        return value


def kinds_of(union: Any) -> frozenset[str]:
    """The ``kind`` of every spec in a union of specs."""
    specs = get_args(get_args(union)[0])
    return frozenset(spec.model_fields["kind"].default for spec in specs)


def nearest_key(found: str, known: Sequence[str] | set[str]) -> str:
    """A sentence that names what ``found`` was probably meant to be."""
    other = OTHER_NAMES.get(found)
    if other in known:
        return f"unknown key; here it is called '{other}'"
    close = difflib.get_close_matches(found, sorted(known), n=1, cutoff=0.6)
    if close:
        return f"unknown key; did you mean '{close[0]}'?"
    return f"unknown key; known here: {', '.join(sorted(known))}"


def parse_yaml(text: str, name: str, such_as: str = "samdan: 1") -> CommentedMap:
    """YAML 1.2 text to a mapping that remembers its line numbers. Raises RecipeError."""
    if _depth(text) > MAX_BRACKETS:  # the parser would need seconds to give up
        raise RecipeError(
            f"{name}: more than {MAX_BRACKETS} brackets or braces are open at once; is one of them "
            f"not closed?"
        )
    loader = YAML(typ="rt")
    loader.allow_duplicate_keys = False
    try:
        tree = loader.load(text)
    except DuplicateKeyError as error:
        raise RecipeError(_marked(name, error, "duplicate key")) from None
    except MarkedYAMLError as error:
        raise RecipeError(_marked(name, error, "not valid YAML")) from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise RecipeError(f"{name}: not valid YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(tree, CommentedMap):
        found = "nothing" if tree is None else "a list" if isinstance(tree, list) else repr(tree)
        space = " (with a space behind the colon)" if isinstance(tree, str) and ":" in tree else ""
        raise RecipeError(
            f"{name}:1:1: found {found[:80]}, expected keys such as '{such_as}'{space}"
        )
    return tree


def _depth(text: str) -> int:
    """Brackets and braces open at once, those in quoted texts too."""
    deepest = depth = 0
    for bracket in re.findall(r"[\[\]{}]", text):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _marked(name: str, error: MarkedYAMLError, what: str) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
    said = (error.problem or str(error)).splitlines()[0]
    hint = next((hint for part, hint in _YAML_HINTS.items() if part in said), "")
    return f"{where}: {what}: {said}{hint}"


# What the YAML parser says, to what is behind it.
_YAML_HINTS = {
    "'\\t'": "; this is a tab, and YAML is indented with spaces",
    "escape character": "; in double quotes a backslash begins an escape: write paths in single "
    "quotes, or with /",
    "mapping values are not allowed here": "; is a line above not closed, or a text with ': ' not "
    "in quotes?",
}


def require_no_secrets(node: Any, name: str, path: str = "") -> None:
    """A recipe is written into its run. Raises RecipeError that names the key, never the value."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            require_no_secrets(value, name, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list | tuple):
        for number, value in enumerate(node):
            require_no_secrets(value, name, f"{path}[{number}]")
    elif isinstance(node, str) and secret_in(node):
        raise RecipeError(
            f"{name}: {redacted(path)}: holds what looks like a key, or an address with a login; "
            "a recipe is written into its run: put it into an environment variable (HF_TOKEN for "
            "the Hub, api_key_env for endpoints)"
        )


def plain(node: Any) -> Any:
    """The tree without YAML types: dicts, lists and plain scalars."""
    if isinstance(node, Mapping):
        return {str(key): plain(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [plain(value) for value in node]
    if isinstance(node, bool) or node is None:
        return node
    for kind in (int, float, str):  # ruamel's scalars are subclasses
        if isinstance(node, kind):
            return kind(node)
    return str(node)  # a timestamp: a string is what every field of ours expects


def explain(error: ValidationError, tree: Any, name: str, tags: frozenset[str]) -> RecipeError:
    """Every problem of a validation, one line each, worded for the person who wrote the file."""
    problems = error.errors()
    inner = [problem["loc"] for problem in problems]

    def has_cause_inside(loc: tuple[Any, ...]) -> bool:
        # A list with a wrong entry is also reported as too short: only the entry's error helps.
        return any(len(other) > len(loc) and other[: len(loc)] == loc for other in inner)

    lines = [_explain_one(p, tree, name, tags) for p in problems if not has_cause_inside(p["loc"])]
    return RecipeError(redacted("\n".join(dict.fromkeys(lines))))


def _explain_one(problem: Any, tree: Any, name: str, tags: frozenset[str]) -> str:
    loc = list(problem["loc"])
    context = problem.get("ctx", {})
    if problem["type"] == "unknown_key":
        loc.append(context["key"])
    path, position = _locate(tree, loc, tags)
    where = f"{name}:{position[0] + 1}:{position[1] + 1}" if position else name
    return f"{where}: {_dotted(path)}: {_expectation(problem, context)}"


def _locate(tree: Any, loc: list[Any], tags: frozenset[str]) -> tuple[list[Any], Any]:
    """Follows a pydantic location into the YAML tree, leaving out the tags of unions."""
    node, path, position, after_tag = tree, [], (0, 0), False
    for index, part in enumerate(loc):
        is_key = isinstance(node, Mapping) and part in node
        # A tag may be called like a key beside it ('scratch'): the tag comes first.
        if part in tags and not after_tag and not (is_key and index == len(loc) - 1):
            after_tag = True
            continue
        after_tag = False
        if not is_key and isinstance(part, str) and part.startswith(("function-", "tagged-")):
            continue
        path.append(part)
        if isinstance(node, CommentedMap):
            position = node.lc.key(part) if is_key and part in node.lc.data else position
            node = node.get(part)
        elif isinstance(node, CommentedSeq) and isinstance(part, int) and part < len(node):
            position, node = node.lc.item(part), node[part]
        else:
            node = None
    return path, position


def _dotted(path: Sequence[Any]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else str(part))
    return text or "recipe"


def _expectation(problem: Any, context: Mapping[str, Any]) -> str:
    kind, found = problem["type"], problem.get("input")
    if kind == "unknown_key":
        return str(context["hint"])
    if kind == "missing":
        return "missing; this key is required"
    if kind == "value_error":
        return str(context.get("error", problem["msg"]))
    message = str(problem["msg"])
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        expected = context.get("expected_tags", "")
        tag = context.get("tag")
        if tag is None:
            return "key 'kind' is missing" + (f"; expected one of {expected}" if expected else "")
        close = difflib.get_close_matches(str(tag), str(expected).replace("'", "").split(", "), n=1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        return f"found kind '{tag}', expected one of {expected}{hint}"
    message = message.removeprefix("Input should be ").removeprefix("Value error, ")
    message = _WORDINGS.get(kind, message)
    if isinstance(found, dict | list):
        return f"found {_shape(found)}, expected {message}"
    if isinstance(found, str) and kind.startswith(("float", "int")) and _is_number(found):
        return f"found '{found}', a text, expected a number: write it without quotes"
    return f"found {found!r}, expected {message}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# What pydantic says in words of Python, in words of a recipe.
_WORDINGS = {
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "dict_type": "a mapping of keys to values",
    "tuple_type": "a list",
    "list_type": "a list",
    "too_short": "at least one entry",
    "finite_number": "a finite number",
}


def _shape(found: Any) -> str:
    if isinstance(found, dict):
        return f"a mapping with {len(found)} keys"
    return "a list" if found else "an empty list"


def set_value(tree: Any, assignment: str) -> None:
    """Applies ``stages.dpo.beta=0.05`` to the tree; list entries go by name or number."""
    path, separator, raw = assignment.partition("=")
    if not separator or not path:
        raise RecipeError(f"--set {assignment}: expected KEY=VALUE, as in stages.dpo.beta=0.05")
    node = tree
    parts = path.split(".")
    for depth, part in enumerate(parts[:-1]):
        node = _child(node, part, assignment, ".".join(parts[: depth + 1]))
    try:
        value = YAML(typ="safe").load(raw)
    except YAMLError:
        raise RecipeError(f"--set {assignment}: '{raw}' is not a YAML value") from None
    last = parts[-1]
    if isinstance(node, list) and last.isdigit() and int(last) < len(node):
        node[int(last)] = value
    elif isinstance(node, dict):
        node[last] = value
    else:
        raise RecipeError(f"--set {assignment}: '{'.'.join(parts[:-1])}' holds no keys")


def _child(node: Any, part: str, assignment: str, so_far: str) -> Any:
    if isinstance(node, list):
        names = [_entry_name(entry) for entry in node]
        if part in names:
            return node[names.index(part)]
        if part.isdigit() and int(part) < len(node):
            return node[int(part)]
        close = difflib.get_close_matches(part, [n for n in names if n], n=1)
        hint = (
            f"; did you mean '{close[0]}'?"
            if close
            else f"; there are: {', '.join(filter(None, names))}"
        )
        raise RecipeError(f"--set {assignment}: nothing is named '{so_far}'{hint}")
    if isinstance(node, dict):
        if part not in node or node[part] is None:
            node[part] = CommentedMap()
        return node[part]
    raise RecipeError(f"--set {assignment}: '{so_far}' does not exist")


def _entry_name(entry: Any) -> str:
    if not isinstance(entry, Mapping):
        return ""
    return str(entry.get("name") or entry.get("kind") or "")
