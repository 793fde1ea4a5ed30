"""The shape of the code: imports point one way, the core is light, nothing is large or unsafe."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "samdan"

# A unit imports only units of a lower rank; units of the same rank do not know each other.
# A new module or package gets its place here.
LAYERS = (
    ("records", "hangul", "redaction", "printing"),
    ("spec",),
    ("responses",),
    ("preferences", "infilling", "rope"),
    ("contexts",),
    ("answers", "cleaning", "filters", "personal", "removing", "rules", "selecting", "tasks"),
    ("aliases", "sources", "growing", "adapters", "averaging", "unfreezing", "trackers"),
    ("stages",),
    ("recipe",),
    ("schedule",),
    ("advice",),
    ("budget", "importing", "report", "plan", "packing"),
    ("lm", "pages"),
    ("data", "grow", "train", "evals", "judge"),
    ("run",),
    ("demo",),
    ("commands",),
    ("cli",),
    ("__init__", "__main__"),
)
RANK = MappingProxyType({unit: rank for rank, units in enumerate(LAYERS) for unit in units})
CORE = frozenset(unit for unit, rank in RANK.items() if rank < RANK["lm"])
TOO_HEAVY_FOR_CORE = frozenset(
    {
        "accelerate",
        "bitsandbytes",
        "datasets",
        "kiwipiepy",
        "numpy",
        "pandas",
        "peft",
        "py3langid",
        "pyarrow",
        "safetensors",
        "starlette",
        "tokenizers",
        "torch",
        "transformers",
        "uvicorn",
    }
)

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 80
MAX_PARAMETERS = 8
MAX_OPTIONS = 12  # of a command, which are given by name

UNSAFE_MODULES = frozenset({"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"})
UNSAFE_CALLS = frozenset(
    {
        "eval",
        "exec",
        "os.popen",
        "os.system",
        "torch.load",
        "yaml.load",
        "yaml.load_all",
        "yaml.unsafe_load",
    }
)
UNSAFE_FLAGS = frozenset({"allow_pickle", "shell", "trust_remote_code"})


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def unit_of(parts: tuple[str, ...]) -> str:
    """The unit that a module (its dotted name's parts, without the package's) belongs to."""
    return parts[0] if parts else "__init__"


def module_of(path: Path) -> tuple[str, ...]:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts


def imported(tree: ast.Module, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that a module imports, also inside functions.

    `package` is what relative imports start from.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*start, *([node.module] if node.module else [])))
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"


def import_faults(text: str, module: tuple[str, ...], is_package: bool) -> list[str]:
    """What a module imports and should not."""
    unit = unit_of(module)
    if unit not in RANK:
        return [f"{unit} has no place in LAYERS"]
    inside = module if module != ("__init__",) else ()
    package = ("samdan", *(inside if is_package else inside[:-1]))
    faults = []
    for line, name in imported(ast.parse(text), package):
        top, *rest = name.split(".")
        if top == "samdan":
            if rest == ["__version__"]:
                continue
            target = rest[0] if rest and rest[0] in RANK else "__init__"
            if target != unit and RANK[target] >= RANK[unit]:
                faults.append(f"{line}: {unit} imports {'.'.join([top, *rest][:2])}")
        elif unit in CORE and top in TOO_HEAVY_FOR_CORE:
            faults.append(f"{line}: the core's {unit} imports {top}")
    return list(dict.fromkeys(faults))


def size_faults(text: str, most: int = MAX_PARAMETERS) -> list[str]:
    """Files, functions and parameter lists that grew too long."""
    faults = []
    lines = len(text.splitlines())
    if lines > MAX_FILE_LINES:
        faults.append(f"{lines} lines (at most {MAX_FILE_LINES})")
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if length > MAX_FUNCTION_LINES:
            faults.append(f"{node.lineno}: {node.name} has {length} lines")
        given = node.args
        names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
        names += [a.arg for a in (given.vararg, given.kwarg) if a is not None]
        if names[:1] in (["self"], ["cls"]):
            names = names[1:]
        if len(names) > most:
            faults.append(f"{node.lineno}: {node.name} takes {len(names)} parameters")
    return faults


def dotted(node: ast.expr, aliases: dict[str, str]) -> str:
    """`a.b.c` with the first name replaced by what it was imported as; empty for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([aliases.get(node.id, node.id), *reversed(parts)])


def aliases_in(tree: ast.Module) -> dict[str, str]:
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return found


def is_true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def safety_faults(text: str) -> list[str]:
    """Ways to run code that came with data or a model, or through a shell."""
    tree = ast.parse(text)
    aliases = aliases_in(tree)
    faults = [
        f"{line}: imports {name}"
        for line, name in imported(tree, ())
        if name.split(".")[0] in UNSAFE_MODULES
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = dotted(node.func, aliases).removeprefix("builtins.")
            if name in UNSAFE_CALLS:
                faults.append(f"{node.lineno}: calls {name}")
            faults += [
                f"{node.lineno}: passes {keyword.arg}=True"
                for keyword in node.keywords
                if keyword.arg in UNSAFE_FLAGS and is_true(keyword.value)
            ]
        elif isinstance(node, ast.Dict):
            faults += [
                f"{node.lineno}: passes {key.value}=True"
                for key, value in zip(node.keys, node.values, strict=True)
                if isinstance(key, ast.Constant) and key.value in UNSAFE_FLAGS and is_true(value)
            ]
    return faults


def described(path: Path, faults: list[str]) -> list[str]:
    return [f"{path.relative_to(PACKAGE)}:{fault}" for fault in faults]


def test_imports_point_one_way() -> None:
    assert [
        fault
        for path in sources()
        for fault in described(
            path, import_faults(path.read_text(), module_of(path), path.name == "__init__.py")
        )
    ] == []


def test_nothing_is_too_long() -> None:
    commands = PACKAGE / "commands"
    assert [
        fault
        for path in sources()
        for fault in described(
            path,
            size_faults(
                path.read_text(), MAX_OPTIONS if path.parent == commands else MAX_PARAMETERS
            ),
        )
    ] == []


def test_nothing_runs_foreign_code() -> None:
    assert [f for path in sources() for f in described(path, safety_faults(path.read_text()))] == []


def test_core_loads_without_the_heavy_libraries() -> None:
    modules = [f"samdan.{u}" for u in sorted(CORE) if importlib.util.find_spec(f"samdan.{u}")]
    program = (
        f"import sys, {', '.join(modules)}\n"
        f"print(*sorted({set(TOO_HEAVY_FOR_CORE)!r} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_the_type_checker_is_strict_on_the_whole_core() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    strict = project["tool"]["mypy"]["overrides"][0]["module"]
    assert {name.removeprefix("samdan.").removesuffix(".*") for name in strict} == CORE
    checked = re.search(r"^CORE := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert checked is not None
    assert set(checked[1].split()) == CORE


# --- the checks themselves find what they look for -----------------------------


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("plan", "import torch"),
        ("packing", "from numpy import array"),
        ("report.html", "def late():\n    import transformers"),
        ("recipe", "from samdan.plan import Plan"),
        ("records", "import samdan.spec"),
        ("rules", "from samdan.tasks import Task"),
        ("data.sources", "from samdan.train.loop import steps"),
        ("evals.score", "from samdan import data"),
        ("train.loop", "from ..grow import depth"),
        ("preferences.votes", "from samdan.rules import Gate"),
        ("judge.server", "from samdan.data.synthesis import journal"),
        ("lm.chat", "from samdan.run import executor"),
        ("run.steps", "from samdan import load_recipe"),
        ("unheard_of", ""),
    ],
)
def test_a_wrong_import_is_found(module: str, text: str) -> None:
    assert len(import_faults(text, tuple(module.split(".")), is_package=False)) == 1


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("train.loop", "import torch\nfrom samdan.lm import batch\nfrom .optim import adamw"),
        ("recipe", "from samdan.filters import Filter\nfrom samdan.records import RecipeError"),
        ("run.ledger", "from samdan import __version__\nfrom samdan import report"),
        ("cli", "from samdan.demo import world"),
        ("__init__", "from .run import executor\nfrom .recipe import Recipe"),
    ],
)
def test_a_right_import_passes(module: str, text: str) -> None:
    parts = tuple(module.split("."))
    assert import_faults(text, parts, is_package=module == "__init__") == []


@pytest.mark.parametrize(
    "text",
    [
        "import torch\ntorch.load('x', weights_only=True)",
        "import torch as t\nt.load('x')",
        "from torch import load as read\nread('x')",
        "import pickle",
        "from pickle import loads",
        "import yaml\nyaml.load('x')",
        "eval('1')",
        "import builtins\nbuiltins.exec('1')",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "model('x', trust_remote_code=True)",
        "options = {'trust_remote_code': True}",
    ],
)
def test_foreign_code_is_found(text: str) -> None:
    assert len(safety_faults(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "model.eval()",
        "model('x', trust_remote_code=False)",
        "from safetensors.torch import load_file\nload_file('x')",
        "import json\njson.load(file)",
    ],
)
def test_harmless_code_passes(text: str) -> None:
    assert safety_faults(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "\n" * (MAX_FILE_LINES + 1),
        "def long():\n" + "    pass\n" * MAX_FUNCTION_LINES,
        "def wide(a, b, c, d, e, f, *g, h, **i): ...",
        "class A:\n    async def wide(self, a, b, c, d, e, f, g, h, i): ...",
        "@app.command()\ndef wide(a, b, c, d, e, f, g, h, i, j, k, l, m): ...",
    ],
)
def test_too_long_is_found(text: str) -> None:
    assert len(size_faults(text)) == 1


def test_the_longest_allowed_passes() -> None:
    assert size_faults("\n" * MAX_FILE_LINES) == []
    assert size_faults("def long():\n" + "    pass\n" * (MAX_FUNCTION_LINES - 1)) == []
    assert size_faults("class A:\n    def wide(self, a, b, c, d, e, f, g, h): ...") == []
