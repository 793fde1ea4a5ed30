"""Chat templates with bounds: a template is a program of someone else's, and may not run for ever.

transformers' sandbox keeps a template from reaching anything. It does not keep it from counting to
a billion in nested loops, or from doubling a string until memory is gone; the optimizer of Jinja
does the latter even while it compiles. Here every loop, call and growth of a value is charged
before it is done, in the same sandbox, with transformers' own filters and functions.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

MAX_TEMPLATE: Final = 1_000_000  # characters; the longest of a published model has some 20,000
MAX_TEXT: Final = 4_000_000  # characters that a template adds to what the messages hold
MAX_STEPS: Final = 300_000
MAX_SECONDS: Final = 2.0  # of processor time: an ordinary conversation takes a thousandth of one
MAX_NUMBER: Final = 10_000  # given to a filter or a method: widths, counts
_COUNTED, _SIZED = "samdan_counted", "samdan_sized"
_WIDTH: Final = re.compile(r"\d{4,}|\*")  # '%99999d', '{:>99999}', '%*d'


class TemplateLimit(Exception):
    """The template does more than a chat template has a reason to do."""


class Template:
    """A compiled template. Not for several threads at once."""

    def __init__(self, source: str) -> None:
        """Raises TemplateLimit, or jinja2's errors where the template is none."""
        if len(source) > MAX_TEMPLATE:
            raise TemplateLimit(f"it has {len(source)} characters, more than {MAX_TEMPLATE}")
        self._environment = _Bounded(_transformers_sandbox())
        self._template = self._environment.from_string(source)

    def render(self, messages: Sequence[Mapping[str, str]], **values: Any) -> str:
        """The conversation as text; ``values`` as transformers gives them.

        Raises TemplateLimit, and whatever a program of someone else's raises.
        """
        own = sum(len(text) for message in messages for text in message.values())
        self._environment.begin(own)
        return self._template.render(messages=list(messages), **values)


class _Bounded(ImmutableSandboxedEnvironment):
    """transformers' sandbox, with a budget. Operators that make values grow are intercepted, which
    also keeps the optimizer from computing them while it compiles."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, like: ImmutableSandboxedEnvironment) -> None:
        super().__init__(
            trim_blocks=like.trim_blocks,
            lstrip_blocks=like.lstrip_blocks,
            extensions=[type(extension) for extension in like.extensions.values()],
        )
        self.globals = {k: v for k, v in like.globals.items() if k != "lipsum"}
        self.filters = {name: self._bounded(name, f) for name, f in like.filters.items()}
        self.filters |= {_COUNTED: self._counted, _SIZED: self.sized}
        self.begin(0)

    def begin(self, own: int) -> None:
        """A new budget. ``own``: characters of the messages, which cost nothing by themselves."""
        self._room = MAX_TEXT + 4 * own  # a template may write them, and look at them stripped
        self._steps = 0
        self._end = time.thread_time() + MAX_SECONDS

    def charge(self, steps: int = 1) -> None:
        before, self._steps = self._steps, self._steps + steps
        if self._steps > MAX_STEPS:
            raise TemplateLimit(f"it takes more than {MAX_STEPS} steps")
        if before >> 6 != self._steps >> 6 and time.thread_time() > self._end:
            raise TemplateLimit(f"it takes more than {MAX_SECONDS:.0f} seconds")

    def require(self, size: int) -> None:
        """A value of this many characters or entries is about to be made, or was."""
        if size > self._room:
            raise TemplateLimit(f"it makes a text or a list of more than {self._room} parts")
        self.charge(1 + (size >> 10))

    def sized(self, value: Any) -> Any:
        self.require(len(value) if isinstance(value, str | list | tuple | dict) else 0)
        return value

    def concat(self, parts: Iterable[str]) -> str:  # type: ignore[override]
        """What output, blocks and macros are put together with."""
        kept, size = [], 0
        for part in parts:
            kept.append(part)
            size += len(part)
            if size > self._room:
                break
        self.require(size)
        return "".join(kept)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Instrument().visit(super()._parse(source, name, filename))
        return tree

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "*":
            for text, times in ((left, right), (right, left)):
                if isinstance(text, str | list | tuple) and isinstance(times, int):
                    self.require(len(text) * max(times, 0))
        elif operator == "%" and isinstance(left, str) and _WIDTH.search(left):
            raise TemplateLimit("a text is formatted to a width of thousands")
        elif operator == "+" and isinstance(left, str | list | tuple):
            self.require(len(left) + (len(right) if isinstance(right, type(left)) else 0))
        if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * (right if operator == "**" else 1) + right.bit_length()
            if bits > MAX_NUMBER:
                raise TemplateLimit("a number has thousands of digits")
        return self.sized(super().call_binop(context, operator, left, right))

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        name = getattr(__obj, "__name__", "")
        # The sandbox puts a function of its own around str.format.
        subject = getattr(getattr(__obj, "__wrapped__", __obj), "__self__", None)
        # range() has a bound in the sandbox, and what it gives is charged where it is gone through.
        if name not in ("safe_range", "range"):
            __self._foresee(name, subject, (*args, *kwargs.values()))
        return __self.sized(super().call(__context, __obj, *args, **kwargs))

    def _foresee(self, name: str, subject: Any, given: Sequence[Any]) -> None:
        """Refuses what would give a huge value, before it does."""
        numbers = [v for v in given if isinstance(v, int) and not isinstance(v, bool)]
        size = len(subject) if isinstance(subject, str | list | tuple) else 0
        widest = max(map(abs, numbers), default=0)
        if isinstance(subject, str) and name in ("replace", "do_replace") and len(given) > 1:
            old, new = str(given[0]), str(given[1])
            size += subject.count(old) * len(new)
        elif name in ("join", "do_join"):
            size = self._joined(subject, given)
        elif name in ("indent", "do_indent", "expandtabs", "tojson"):
            size *= 1 + widest
        elif name in ("format", "format_map", "do_format") and isinstance(subject, str):
            if _WIDTH.search(subject):
                raise TemplateLimit("a text is formatted to a width of thousands")
            size += sum(len(str(value)) for value in given)
        if widest > MAX_NUMBER and isinstance(subject, str | list | tuple):
            raise TemplateLimit(f"a filter or method is given a number above {MAX_NUMBER}")
        self.require(size)

    def _joined(self, subject: Any, given: Sequence[Any]) -> int:
        """Characters of a join, called either way: ``list | join(',')`` and ``','.join(list)``."""
        parts, glue = (given[0], subject) if isinstance(subject, str) and given else (subject, "")
        if not isinstance(subject, str) and given:
            glue = given[0]
        if not isinstance(parts, list | tuple):
            return 0
        return sum(len(v) if isinstance(v, str) else 0 for v in parts) + len(parts) * len(str(glue))

    def _bounded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A filter that is charged. What Jinja passes first (context, environment) stays first."""
        first = 1 if getattr(function, "jinja_pass_arg", None) is not None else 0

        def bounded(*args: Any, **kwargs: Any) -> Any:
            subject, *rest = args[first:] or (None,)
            self._foresee(name, subject, (*rest, *kwargs.values()))
            found = function(*args, **kwargs)
            return self._counted(found) if isinstance(found, Iterator) else self.sized(found)

        if first:
            bounded.jinja_pass_arg = function.jinja_pass_arg  # type: ignore[attr-defined]
        return bounded

    def _counted(self, value: Any) -> Any:
        return value if isinstance(value, _Counted) else _Counted(value, self.charge)


class _Counted:
    """Anything that can be gone through, a step for each entry; as long as it was."""

    def __init__(self, value: Any, charge: Callable[[], None]) -> None:
        self._value, self._charge = value, charge

    def __iter__(self) -> Iterator[Any]:
        for entry in self._value:
            self._charge()
            yield entry

    def __len__(self) -> int:
        return len(self._value)


class _Instrument(NodeTransformer):
    """Puts a count around what loops go through, and a measure around what ``~`` puts together."""

    def visit_For(self, node: nodes.For) -> nodes.For:
        self.generic_visit(node)
        node.iter = _filtered(node.iter, _COUNTED)  # type: ignore[arg-type]
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:
        self.generic_visit(node)
        return _filtered(node, _SIZED)


def _filtered(node: nodes.Expr, name: str) -> nodes.Filter:
    made = nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)
    made.set_environment(node.environment)  # type: ignore[arg-type]
    return made


def _transformers_sandbox() -> ImmutableSandboxedEnvironment:
    """The environment in which transformers renders; made by it for an empty template."""
    from transformers.utils.chat_template_utils import _compile_jinja_template

    found: ImmutableSandboxedEnvironment = _compile_jinja_template("").environment
    return found
