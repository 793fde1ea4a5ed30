"""Templates of a language: texts with places for values, in YAML; how a relation is worded."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.tokens import AliasToken

from samdan.data.synthesis.places import Attribute, Question, Sentence
from samdan.data.synthesis.values import Language
from samdan.hangul import is_syllable
from samdan.records import DataError, RecipeError
from samdan.spec import Spec, explain, parse_yaml, plain

MAX_FILE_BYTES: Final = 1_000_000
Asked = Literal["person", "place", "date", "number", "thing", "text"]
# Labels that are no noun phrase; of one word in -s nobody knows: it is taken for a verb (governs).
_VERBAL = re.compile(
    r"^(has|is|was|are|were|can|does|did)\b|\b(by|with)\b|^\w*[^su]s$"
    r"|\b(in|into|of|for|at|to|from|on|over|through|near|as)$"
)


class Relation(Spec):
    """How one relation is put into words."""

    names: tuple[str, ...] = Field(min_length=1)
    """What the relation is called in a graph: key or label, in any language."""
    noun: str
    """The noun phrase for it: 대표이사, place of birth."""
    plural: str = ""
    """The noun's plural (English)."""
    renamed: tuple[str, ...] = ()
    """Names that are no noun (foundedBy); ``noun`` stands for them. Others are used as they are."""
    value: Asked = "thing"
    """What is asked for: person, place, date, number, thing or text."""
    unit: str = ""
    """The unit of a number that has none."""
    sentences: tuple[Sentence, ...] = ()
    """Sentences with {s} and {o}, true of one object and of several."""
    single: tuple[Sentence, ...] = ()
    """Sentences that are only right for one object."""
    questions: tuple[Question, ...] = ()
    """Questions with {s} that the object answers."""
    attributes: tuple[Attribute, ...] = ()
    """Modifiers of the subject with {o}: {o}에 본사를 둔; headquartered in {o}."""


class Type(Spec):
    """What a type of entities is called."""

    names: tuple[str, ...] = Field(min_length=1)
    """The type in a graph: key or label, in any language."""
    label: str
    """The noun for it."""
    value: Asked = "thing"
    """How is asked for one: person (who), place (where) or thing (what)."""


Asking = dict[Literal["person", "place", "date", "number", "thing", "text", "phrase"], list[str]]
Pair = tuple[str, str]


class Phrases(Spec):
    """What is said around the facts, for one language; see ko.yaml."""

    frames: list[str]
    name_frames: list[str]
    phrase_frames: list[str]
    text_frames: list[str]
    partial_frames: list[str]
    questions: Asking
    follow_ups: Asking
    answers: list[str]
    spoken_answers: list[str]
    quoted_answers: list[str]
    phrase_answers: list[str]
    attribute: str
    summary_item: str
    summary_end: str
    types: list[str]
    type_question: list[str]
    type_answer: list[str]
    refer: list[str]
    leads: list[str]
    rephrase: list[str]
    headings: list[str]
    items: list[str]
    type_name: str
    table_heads: list[Pair]
    table_titles: list[str]
    peers_titles: list[str]
    peers_title: str
    name_column: str
    qa: list[str]
    speakers: list[Pair]
    openings: list[Pair]
    closings: list[Pair]
    headlines: list[str]
    reports: list[str]
    shared: list[str]
    shared_partial: list[str]
    contrasts: list[str]
    pair_titles: list[str]
    pair_questions: list[str]
    link_questions: list[str]
    link_answers: list[str]
    roles_first: str
    roles_next: str
    roles_last: str
    roles_titles: list[str]
    hops: list[str]
    hop_questions: Asking
    hop_answers: list[str]


class TemplateFile(Spec):
    """A user's templates: they come before the built-in ones of the same relation."""

    language: Language
    """ko or en."""
    relations: tuple[Relation, ...] = ()
    """How relations are put into words."""
    types: tuple[Type, ...] = ()
    """What types are called."""


class BuiltIn(TemplateFile):
    """The templates of a language that come with the program."""

    phrases: Phrases


@dataclass(frozen=True, slots=True)
class Wording:
    """A relation of a graph in one language: its noun and the (id, template) pairs for it."""

    noun: str
    plural: str
    is_noun: bool
    value: Asked
    unit: str
    sentences: tuple[tuple[str, str], ...] = ()
    single: tuple[tuple[str, str], ...] = ()
    questions: tuple[tuple[str, str], ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()


class Templates:
    """The templates of one language: the built-in ones and, before them, the user's."""

    def __init__(self, language: Language, users: Iterable[tuple[str, TemplateFile]] = ()) -> None:
        """``users``: (name of the file, its content); of other languages only the names count."""
        users = list(users)
        built_in = {code: _built_in(code) for code in ("ko", "en")}
        self.language = language
        self.phrases = built_in[language].phrases
        own = [(f"{name}:", file) for name, file in users if file.language == language]
        self._files = [*own, (f"{language}/", built_in[language])]
        # What one file calls a relation or a type helps to find it in the other.
        files = (*built_in.values(), *(file for _, file in users))
        self._relation_names = [_norms(entry.names) for f in files for entry in f.relations]
        self._type_names = [_norms(entry.names) for f in files for entry in f.types]

    def wording(self, names: Sequence[str], value: Asked = "thing") -> Wording:
        """How a relation is worded that is called ``names``: key and labels, the best one first."""
        entry, prefix = self._relation(names)
        label = names[0]
        if entry is None:
            plural = _plural(label) if self.language == "en" else label
            return Wording(label, plural, self._is_noun(label), value, "")
        kept = norm(label) not in _norms(entry.renamed) and self._is_noun(label)
        noun = label if kept else entry.noun
        plural = entry.plural if entry.plural and noun == entry.noun else _plural(noun)
        ids = f"{prefix}{entry.names[0]}"
        return Wording(
            noun, plural if self.language == "en" else noun, True, entry.value, entry.unit,
            *(
                tuple((f"{ids}.{name}.{i}", text) for i, text in enumerate(texts))
                for name, texts in (
                    ("sentences", entry.sentences), ("single", entry.single),
                    ("questions", entry.questions), ("attributes", entry.attributes),
                )
            ),
        )  # fmt: skip

    def _relation(self, names: Sequence[str]) -> tuple[Relation | None, str]:
        wanted = _norms(names)
        for known in (wanted, _widened(wanted, self._relation_names)):
            for prefix, file in self._files:
                for entry in file.relations:
                    if known & _norms(entry.names):
                        return entry, prefix
        return None, ""

    def type_of(self, names: Sequence[str]) -> tuple[str, Asked]:
        """The noun for a type that is called ``names``, empty when there is none, and its kind."""
        wanted = _widened(_norms(names), self._type_names)
        for _, file in self._files:
            for entry in file.types:
                if wanted & _norms(entry.names):
                    return entry.label, entry.value
        return (names[0] if self._fits(names[0]) else ""), "thing"

    def _fits(self, label: str) -> bool:
        return any(map(is_syllable, label)) == (self.language == "ko")

    def _is_noun(self, label: str) -> bool:
        """Whether a label can stand where a noun stands; 'founded by' and 설립하다 cannot."""
        if not self._fits(label):
            return False
        if self.language == "ko":
            return not re.search(r"[다함됨]$", label)
        return not _VERBAL.search(label.lower())


def _plural(noun: str) -> str:
    if re.search(r"[^aeiou]y$", noun):
        return noun[:-1] + "ies"
    return noun + ("es" if re.search(r"(s|x|ch|sh)$", noun) else "s")


def _widened(names: set[str], groups: Sequence[set[str]]) -> set[str]:
    """The names with all that the files give as other names of the same."""
    more = names.union(*(group for group in groups if group & names))
    return more if more == names else _widened(more, groups)


def _norms(names: Iterable[str]) -> set[str]:
    return set(map(norm, names))


def norm(name: str) -> str:
    """Names that differ in case, spaces, hyphens and underscores only are the same."""
    return re.sub(r"[\s_-]+", "", unicodedata.normalize("NFC", name)).casefold()


def load_templates(path: Path) -> TemplateFile:
    """A user's template file. Raises DataError that names file, line and column."""
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise DataError(f"{path}: larger than {MAX_FILE_BYTES} bytes")
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start + 1} is no UTF-8") from None
    try:
        # An alias repeats a part at no cost in the file: a small file would fill the memory.
        if any(isinstance(token, AliasToken) for token in YAML().scan(text)):
            raise DataError(f"{path}: YAML aliases (*name) are not read here; write the text out")
    except YAMLError as error:
        raise DataError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from None
    return _parsed(TemplateFile, text, str(path))


@lru_cache(maxsize=2)
def _built_in(language: Language) -> BuiltIn:
    name = f"{language}.yaml"
    text = (resources.files("samdan.data.synthesis") / name).read_text("utf-8")
    return _parsed(BuiltIn, text, name)


def _parsed(kind: type[Any], text: str, name: str) -> Any:
    try:
        tree = parse_yaml(text, name)
        return kind.model_validate(plain(tree))
    except ValidationError as error:
        raise DataError(str(explain(error, tree, name, frozenset()))) from None
    except RecipeError as error:
        raise DataError(str(error)) from None
