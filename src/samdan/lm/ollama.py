"""An Ollama Modelfile: the chat template in Go's template language, end tokens, system prompt.

A chat template is a program and cannot be translated in general. Most of them write each message
between two fixed texts; these are read off what the template renders, and the translation counts
only if it renders several other dialogues in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from samdan.lm.templates import Template

_MARK: Final = "\ue000{}\ue001"
_ROLES: Final = ("system", "user", "assistant")
# By these the translation is judged: roles only.
_DIALOGUES: Final = (
    ("user",),
    ("user", "assistant", "user"),
    ("user", "assistant", "user", "assistant", "user"),
    ("system", "user"),
    ("system", "user", "assistant", "user"),
)


@dataclass(frozen=True)
class Frames:
    """What a chat template writes around the messages of each role, and before an answer."""

    around: dict[str, tuple[str, str]]  # by role: before and behind the message
    start: str  # before everything
    prompt: str  # what asks for an answer
    system: str | None  # the system message that the template adds where none is given


def frames_of(tokenizer: Any) -> Frames | None:
    """What the tokenizer's template writes around messages; None where it is not that simple."""
    try:
        template = Template(tokenizer.get_chat_template())
        return _frames(_Render(template, tokenizer))
    except Exception:  # a template is a program of someone else's, and may fail in any way
        return None


class _Render:
    def __init__(self, template: Template, tokenizer: Any) -> None:
        self._template, self._named = template, tokenizer.special_tokens_map
        self.bos = str(tokenizer.bos_token or "")

    def __call__(self, turns: Sequence[tuple[str, str]], prompt: bool) -> str:
        messages = [{"role": role, "content": content} for role, content in turns]
        return self._template.render(
            messages, tools=None, documents=None, add_generation_prompt=prompt, **self._named
        )


def _frames(render: _Render) -> Frames | None:
    one, two, three = (_MARK.format(i) for i in range(3))
    asked = render([("user", one)], False)
    head, _, end = asked.partition(one)
    answered = render([("user", one), ("assistant", two)], False)
    between, _, close = answered.partition(one)[2].partition(two)
    dialogue = render([("user", one), ("assistant", two), ("user", three)], False)
    before_user = dialogue.partition(two)[2].partition(three)[0].removeprefix(close)
    if not (between.startswith(end) and head.endswith(before_user)):
        return None
    around = {"user": (before_user, end), "assistant": (between.removeprefix(end), close)}
    prompt = render([("user", one)], True).removeprefix(asked)
    start = head.removesuffix(before_user)
    found = _with_system(Frames(around, start, prompt, None), render)
    return found if _same(found, render) else None


def _with_system(found: Frames, render: _Render) -> Frames:
    """The frames with the system turn, where the template has one of its own."""
    one, two = (_MARK.format(i) for i in range(2))
    before_user = found.around["user"][0]
    try:
        given = render([("system", one), ("user", two)], False)
    except Exception:  # Gemma's raises: it has no system turn
        return found
    before, marked, rest = given.partition(one)
    between = rest.partition(two)[0]
    if not marked or not between.endswith(before_user):
        return found
    behind = between.removesuffix(before_user)
    start, default = found.start, None
    longer = len(start) > len(before) + len(behind) and bool(before or behind)
    if longer and start.startswith(before) and start.endswith(behind):
        default = start[len(before) : len(start) - len(behind)]
        start = render.bos if render.bos and before.startswith(render.bos) else ""
    if not before.startswith(start):
        return found
    around = {**found.around, "system": (before.removeprefix(start), behind)}
    return Frames(around, start, found.prompt, default)


def _same(found: Frames, render: _Render) -> bool:
    """Whether the frames render the dialogues as the template does."""
    for roles in _DIALOGUES:
        if "system" in roles and "system" not in found.around:
            continue
        turns = [(role, f"말 {number}: x") for number, role in enumerate(roles)]
        if render(turns, True) != rendered(found, turns):
            return False
    return True


def rendered(found: Frames, turns: Sequence[tuple[str, str]]) -> str:
    """A dialogue as the Go template renders it, and the prompt for an answer behind it."""
    if found.system is not None and turns[0][0] != "system":
        turns = [("system", found.system), *turns]
    text = found.start
    for role, content in turns:
        before, behind = found.around[role]
        text += before + content + behind
    return text + found.prompt


def _without(text: str, start: str) -> str:
    return text.removeprefix(start) if start else text


def go_template(found: Frames, bos: str) -> str:
    """The template as Ollama reads it. ``bos``: what the runtime itself puts before every text."""
    parts = [_quoted(_without(found.start, bos))]
    parts.append("{{- range $i, $_ := .Messages }}{{- $last := eq (len (slice $.Messages $i)) 1 }}")
    word = "if"
    for role in _ROLES:
        if role not in found.around:
            continue
        before, behind = found.around[role]
        parts.append(f'{{{{- {word} eq .Role "{role}" }}}}{_quoted(before)}{{{{ .Content }}}}')
        closed = _quoted(behind)
        # An answer that ends the dialogue is one to go on with: its turn stays open.
        if role == "assistant":
            closed = f"{{{{ if not $last }}}}{closed}{{{{ end }}}}"
        parts.append(closed)
        word = "else if"
    parts.append("{{- end }}")
    parts.append(f'{{{{- if and (ne .Role "assistant") $last }}}}{_quoted(found.prompt)}')
    parts.append("{{- end }}{{- end }}")
    return "".join(parts)


def _quoted(text: str) -> str:
    """A text as a Go expression: nothing in it is markup, and no white space is trimmed."""
    if not text:
        return ""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    escaped = escaped.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
    return '{{ "' + escaped + '" }}'


def modelfile(
    place: str, tokenizer: Any, stops: Sequence[str], temperature: float | None = None
) -> str:
    """The Modelfile. ``place``: the weights beside it, a folder or a GGUF file.

    ``temperature``: None is 0, the likeliest token, by which the model was measured.
    """
    lines = [f"FROM {place}"]
    found = frames_of(tokenizer) if tokenizer.chat_template else None
    if found is not None:
        lines.append(f'TEMPLATE """{go_template(found, str(tokenizer.bos_token or ""))}"""')
    elif tokenizer.chat_template:
        lines.append(
            "# The chat template does more than put fixed texts around messages, and is not\n"
            "# translated: write a TEMPLATE by hand, or serve the model with vLLM."
        )
    else:
        lines.append("# The model has no chat template: it continues text.")
    if found is not None and found.system and '"""' not in found.system:
        lines.append(f'SYSTEM """{found.system}"""')
    lines += [f'PARAMETER stop "{stop}"' for stop in stops if '"' not in stop and "\n" not in stop]
    lines.append(f"PARAMETER temperature {temperature or 0:g}")
    return "\n".join(lines) + "\n"
