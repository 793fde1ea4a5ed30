"""The Modelfile's template renders what the chat template renders, for every format we know."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import tiny
from samdan.lm.ollama import frames_of, go_template, modelfile
from samdan.lm.templates import Template

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "chat"
# What the template writes where no system message is given.
QWEN_SYSTEM = "You are a helpful assistant."
ROLES = {
    "chatml": {"system", "user", "assistant"},
    "qwen2.5": {"system", "user", "assistant"},
    "llama3": {"system", "user", "assistant"},
    "llama2": {"user", "assistant"},  # its system message stands inside the first question
    "gemma": {"user", "assistant"},
    "mistral": {"user", "assistant"},
}
_PART = re.compile(r"\{\{-?\s*(.*?)\s*\}\}", re.DOTALL)


def tokenizer(name: str) -> Any:
    file = json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))
    made = tiny.tokenizer()
    made.chat_template = file["template"]
    for key in ("bos_token", "eos_token"):
        if file["specials"].get(key):
            setattr(made, key, file["specials"][key])
    return made


def ollama(template: str, turns: Sequence[tuple[str, str]]) -> str:
    """What Ollama makes of our part of Go's template language."""
    head, _, body = template.partition("{{- range $i, $_ := .Messages }}")
    said = _said(head, "", "", False)
    for number, (role, content) in enumerate(turns):
        said += _said(body, role, content, number == len(turns) - 1)
    return said


def _said(body: str, role: str, content: str, last: bool) -> str:
    written, open_, taken = "", [], []  # of every `if`: does it hold, has one branch been taken
    for part in _PART.findall(body):
        if part.startswith(("if ", "else if ")):
            holds = _holds(part.removeprefix("else ").removeprefix("if "), role, last)
            if part.startswith("else"):
                open_[-1] = holds and not taken[-1]
                taken[-1] |= holds
            else:
                open_.append(holds)
                taken.append(holds)
        elif part == "end":
            if open_:  # the last one ends the loop
                open_.pop()
                taken.pop()
        elif all(open_) and part == ".Content":
            written += content
        elif all(open_) and part.startswith('"'):
            written += json.loads(part)
    return written


def _holds(condition: str, role: str, last: bool) -> bool:
    if condition == "not $last":
        return not last
    if condition == 'and (ne .Role "assistant") $last':
        return last and role != "assistant"
    found = re.fullmatch(r'eq \.Role "(\w+)"', condition)
    assert found is not None, condition
    return found[1] == role


@pytest.mark.parametrize("name", sorted(ROLES))
def test_go_renders_what_the_template_renders(name: str) -> None:
    made = tokenizer(name)
    found = frames_of(made)
    assert found is not None
    assert set(found.around) == ROLES[name]
    text = go_template(found, "")
    template = Template(made.chat_template)
    dialogues = [["user"], ["user", "assistant", "user"]]
    if "system" in found.around:
        dialogues += [["system", "user"], ["system", "user", "assistant", "user"]]
    for roles in dialogues:
        turns = [(role, f'"{number}"\n{{{{ end }}}} 안녕') for number, role in enumerate(roles)]
        given = turns if roles[0] == "system" or not found.system else [
            ("system", found.system), *turns
        ]
        wanted = template.render(
            [{"role": role, "content": content} for role, content in turns],
            tools=None, documents=None, add_generation_prompt=True, **made.special_tokens_map,
        )  # fmt: skip
        assert ollama(text, given) == wanted


def test_the_template_s_own_system_message_is_kept() -> None:
    text = modelfile(".", tokenizer("qwen2.5"), ["<|im_end|>"])
    assert f'SYSTEM """{QWEN_SYSTEM}"""' in text
    assert 'PARAMETER stop "<|im_end|>"' in text
    assert text.startswith("FROM .\n")


def test_what_the_runtime_writes_itself_is_not_written_twice() -> None:
    made = tokenizer("llama3")
    found = frames_of(made)
    assert found is not None
    assert made.bos_token in go_template(found, "")
    assert made.bos_token not in go_template(found, made.bos_token)


def test_a_template_that_does_more_is_not_translated() -> None:
    made = tiny.tokenizer()
    made.chat_template = (
        "{% for m in messages %}{{ loop.index }}: {{ m['content'] | upper }}\n{% endfor %}"
    )
    assert frames_of(made) is None
    assert "TEMPLATE \"" not in modelfile(".", made, [])
    assert "is not\n# translated" in modelfile(".", made, [])
    made.chat_template = "{{ raise_exception('no') }}"
    assert frames_of(made) is None


def test_a_model_without_a_template_continues_text() -> None:
    assert "it continues text" in modelfile("./a.gguf", tiny.tokenizer(), ["<|endoftext|>"])
