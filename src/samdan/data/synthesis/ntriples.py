"""N-Triples (https://www.w3.org/TR/n-triples/), strictly: one triple a line, comments, blanks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from samdan.data.synthesis.statements import Problem, Statement, faulty, text_lines, tidy
from samdan.records import Origin

RDF_TYPE: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"
LABELS: Final = frozenset(
    {
        "http://www.w3.org/2000/01/rdf-schema#label",
        "http://www.w3.org/2004/02/skos/core#prefLabel",
        "http://schema.org/name",
        "https://schema.org/name",
        "http://xmlns.com/foaf/0.1/name",
    }
)
XSD: Final = "http://www.w3.org/2001/XMLSchema#"
KINDS: Final = {
    **dict.fromkeys(("date", "dateTime", "gYear", "gYearMonth"), "date"),
    **dict.fromkeys(
        ("integer", "decimal", "double", "float", "int", "long", "short", "nonNegativeInteger",
         "positiveInteger", "unsignedInt", "unsignedLong"),
        "number",
    ),
    "boolean": "boolean",
}  # fmt: skip

_SPACE = re.compile(r"[ \t]*")
_IRI = re.compile(r'<((?:[^\x00-\x20<>"{}|^`\\]|\\u[0-9A-Fa-f]{4}|\\U[0-9A-Fa-f]{8})*)>')
_BLANK = re.compile(r"_:[\w·:](?:[\w·:.-]*[\w·:-])?")
_STRING = re.compile(
    r'"((?:[^"\\\n\r]|\\[tbnrf"\'\\]|\\u[0-9A-Fa-f]{4}|\\U[0-9A-Fa-f]{8})*)"'
)
_LANGUAGE = re.compile(r"@([A-Za-z]+(?:-[A-Za-z0-9]+)*)")
_END = re.compile(r"[ \t]*\.[ \t]*(?:#.*)?$")
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))")
_ESCAPED = {"t": "\t", "b": "\b", "n": "\n", "r": "\r", "f": "\f"}


class _Bad(Exception):
    """Column and message; never leaves this module."""


@dataclass(frozen=True, slots=True)
class _Term:
    text: str
    form: str  # iri, blank, literal
    language: str = ""
    datatype: str = ""


def ntriples_statements(path: Path) -> Iterator[Statement | Problem]:
    """Every triple of the file; labels and types are told from facts by their predicates."""
    for line in text_lines(path):
        if isinstance(line, Problem):
            yield line
            continue
        origin, text = line
        text = text.rstrip("\r\n")
        if not text.strip(" \t") or text.lstrip(" \t").startswith("#"):
            continue
        try:
            terms = _triple(text)
        except _Bad as bad:
            column, message = bad.args
            yield Problem(origin, f"column {column}: {message}")
            continue
        yield _stated(*terms, origin)


def _triple(line: str) -> tuple[_Term, _Term, _Term]:
    terms: list[_Term] = []
    at = 0
    for name, allowed in (
        ("subject", ("iri", "blank")),
        ("predicate", ("iri",)),
        ("object", ("iri", "blank", "literal")),
    ):
        at = _after_space(line, at)
        term, after = _term(line, at, name)
        if term.form not in allowed:
            raise _Bad(at + 1, f"found a {term.form} node as {name}, expected an <IRI>")
        terms.append(term)
        at = after
    if not _END.match(line, at):
        raise _Bad(at + 1, f"found {line[at : at + 20]!r}, expected ' .' and the end of the line")
    return terms[0], terms[1], terms[2]


def _after_space(line: str, at: int) -> int:
    found = _SPACE.match(line, at)
    return found.end() if found else at


def _term(line: str, at: int, name: str) -> tuple[_Term, int]:
    if found := _IRI.match(line, at):
        iri = _unescaped(found[1], at)
        if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", iri):
            raise _Bad(at + 1, f"found <{iri[:40]}>, expected an absolute IRI such as <http://...>")
        return _Term(iri, "iri"), found.end()
    if found := _BLANK.match(line, at):
        return _Term(found[0], "blank"), found.end()
    if found := _STRING.match(line, at):
        text, after = _unescaped(found[1], at), found.end()
        if language := _LANGUAGE.match(line, after):
            return _Term(text, "literal", language[1].lower()), language.end()
        if line.startswith("^^", after):
            datatype = _IRI.match(line, after + 2)
            if not datatype:
                raise _Bad(after + 3, "expected the <IRI> of a datatype after ^^")
            return _Term(text, "literal", "", datatype[1]), datatype.end()
        return _Term(text, "literal"), after
    found_text = repr(line[at : at + 20]) if line[at:] else "the end of the line"
    expected = "<IRI>" if name == "predicate" else "<IRI> or _:name"
    expected += ' or "text"' if name == "object" else ""
    raise _Bad(at + 1, f"found {found_text} as {name}, expected {expected}")


def _unescaped(text: str, at: int) -> str:
    def one(match: re.Match[str]) -> str:
        code = match[1] or match[2]
        if not code:
            return _ESCAPED.get(match[3], match[3])
        if int(code, 16) > 0x10FFFF or 0xD800 <= int(code, 16) <= 0xDFFF:
            raise _Bad(at + 1, f"\\{'u' if match[1] else 'U'}{code} is no character")
        return chr(int(code, 16))

    return _ESCAPE.sub(one, text)


def _stated(
    subject: _Term, predicate: _Term, object_: _Term, origin: Origin
) -> Statement | Problem:
    value = tidy(object_.text)
    if fault := faulty(value):
        return Problem(origin, f"the object {fault}")
    language = object_.language.split("-")[0]
    plain = Statement(origin, subject.text, predicate.text, value)
    if subject.form == "blank" or object_.form == "blank":
        return replace(plain, left_out="blank_node")
    if not value:
        return replace(plain, left_out="empty")
    if language not in ("", "ko", "en"):
        return replace(plain, left_out="other_language")
    iris = tuple(term.text for term in (subject, predicate, object_) if term.form == "iri")
    plain = replace(plain, iris=iris)
    if predicate.text in LABELS and object_.form == "literal":
        return replace(plain, relation="", labels=((subject.text, language, value),))
    if predicate.text == RDF_TYPE:
        return replace(plain, relation="", types=((subject.text, value),))
    if object_.form == "iri":
        return replace(plain, kind="name")
    kind = KINDS.get(object_.datatype.removeprefix(XSD), "")
    return replace(plain, kind=kind, language=language)


def local_name(iri: str, words: bool = False) -> str:
    """What an IRI without a label is called: its last part; ``words`` splits foundedBy.

    An address without a path is a page, and stays whole.
    """
    if re.match(r"https?://[^/]*/?$", iri):
        return iri
    name = unquote(re.split(r"[/#]", iri.rstrip("/#"))[-1], errors="replace")
    if "/" not in iri and "#" not in iri:
        name = unquote(iri.split(":")[-1], errors="replace")
    name = tidy(name.replace("_", " "))
    return (spaced(name) if words else name) or iri


def spaced(name: str) -> str:
    """The words of a name such as foundedBy or founded_by."""
    if " " in name or not name.isascii():
        return name
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name.replace("_", " "))
    return " ".join(word if word.isupper() else word.lower() for word in words.split())
