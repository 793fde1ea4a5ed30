"""Every command that the documentation shows exists, with the options that it is shown with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from commands import ROOT, Command, commands
from samdan.cli import app

COMMANDS = commands()
PLACEHOLDER = re.compile(r"^[A-Z][A-Z_.]*$|^\[|^<|…|\.\.\.")
LIBRARIES = ("pytest", "http.server", "pip", "mkdocs", "fuzz")


def of(program: str) -> list[Any]:
    return [pytest.param(one, id=str(one)) for one in dict.fromkeys(
        each for each in COMMANDS if each.words[0] == program
    )]  # fmt: skip


def command_of(words: tuple[str, ...]) -> tuple[Any, list[str]]:
    """The command that the words lead to, and the words behind it."""
    command: Any = typer.main.get_command(app)
    rest = list(words[1:])
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        if PLACEHOLDER.search(rest[0]):  # any command: its options are those of all
            return command, rest[1:]
        assert rest[0] in command.commands, f"there is no command '{rest[0]}'"
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


@pytest.mark.parametrize("shown", of("samdan"))
def test_samdan_knows_it(shown: Command) -> None:
    command, rest = command_of(shown.words)
    context = command.context_class(command, info_name=command.name)
    names = {name: p for p in command.params for name in (*p.opts, *p.secondary_opts)}
    if shown.inline or any(PLACEHOLDER.search(word) for word in rest):
        options = [word.partition("=")[0].strip("[]") for word in rest if "--" in word[:3]]
        assert [o for o in options if o not in names and o != "--help"] == []
        return
    values, left, _ = command.make_parser(context).parse_args(args=rest)
    assert left == [], f"more arguments than the command takes: {left}"
    for parameter in command.params:
        value = values.get(parameter.name)
        assert value is not None or not parameter.required, f"{parameter.name} is missing"
        if type(value) is str and "$" not in value and parameter.opts[0].startswith("--"):
            parameter.process_value(context, value)


@pytest.mark.parametrize("shown", of("python"))
def test_modules_and_files_are_there(shown: Command) -> None:
    words = list(shown.words[1:])
    if words[0] != "-m":
        assert (ROOT / words[0]).is_file()
        return
    name = words[1]
    if name in LIBRARIES:
        return
    places = [ROOT / name.replace(".", "/"), ROOT / "src" / name.replace(".", "/")]
    sources = [p for place in places for p in (place.with_suffix(".py"), place / "__main__.py")]
    (source,) = [path for path in sources if path.is_file()]
    text = "".join(path.read_text("utf-8") for path in source.parent.glob("*.py"))
    options = [word.partition("=")[0] for word in words[2:] if word.startswith("--")]
    known = {*re.findall(r'"(--[\w-]+)"', text), *negated(text)}
    assert [option for option in options if option not in known] == []


def negated(text: str) -> list[str]:
    """What argparse's `BooleanOptionalAction` makes of an option: `--no-search` of `--search`."""
    pairs = re.findall(r'"--([\w-]+)",[^"]*action=argparse\.BooleanOptionalAction', text)
    return [f"--no-{name}" for name in pairs]


@pytest.mark.parametrize("shown", of("make"))
def test_make_has_the_target(shown: Command) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for word in shown.words[1:]:
        if "=" in word:
            variable = word.partition("=")[0]
            assert re.search(rf"\$\((?:or \$\()?{variable}\)|{variable} \?=", makefile)
        else:
            assert re.search(rf"^{re.escape(word)}:", makefile, re.MULTILINE)


CONFIGURATIONS = {
    "llamafactory": "stage: dpo\nmodel_name_or_path: a/b\ndataset: pairs\npref_beta: 0.1\n",
    "axolotl": "base_model: a/b\ndatasets: [{path: x.jsonl, type: completion}]\n",
    "trl": "model_name_or_path: a/b\ndataset_name: x.jsonl\nbeta: 0.1\n",
    "ms-swift": "swift sft --model a/b --dataset x.jsonl\n",
}


@pytest.mark.parametrize(
    "shown",
    [one for one in of("samdan") if one.values[0].words[1] == "import-recipe"
     and one.values[0].page == "docs/start.md" and not one.values[0].inline],
)  # fmt: skip
def test_the_lines_on_importing_are_carried_out(
    shown: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = shown.words
    monkeypatch.chdir(tmp_path)
    Path(words[2]).write_text(CONFIGURATIONS[words[words.index("--from") + 1]], "utf-8")
    done = CliRunner().invoke(app, list(words[1:]))
    assert done.exit_code == 0, done.output
    assert "--out" not in words or Path("recipe.yaml").read_text("utf-8").count("samdan: 1") == 1


def test_commands_are_found() -> None:
    assert {one.page for one in COMMANDS} >= {
        "README.md", "README.ko.md", "docs/start.md", "docs/tutorial.md", "docs/golden.md",
    }  # fmt: skip
    assert Command("README.md", ("samdan", "run", "recipe.yaml"), False) in COMMANDS
    with pytest.raises(AssertionError, match="no command"):
        test_samdan_knows_it(Command("x", ("samdan", "fly"), False))
    with pytest.raises(Exception, match="wings"):
        test_samdan_knows_it(Command("x", ("samdan", "run", "a.yaml", "--wings"), False))
