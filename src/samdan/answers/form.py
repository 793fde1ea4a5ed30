"""Checks of the form of an answer: lists, JSON, tables, headings, code, fixed choices."""

from __future__ import annotations

import json
import re
from typing import ClassVar, Literal

from pydantic import Field

from samdan.answers.base import Amount, BaseCheck, Family
from samdan.answers.text import bullets, lines, numbered, paragraphs
from samdan.spec import Count

_FENCED = re.compile(r"^```[\w+-]*[ \t]*\n(.*?)\n```$", re.DOTALL)


class Bullets(Amount):
    """A list with dashes, stars or dots of so many entries."""

    kind: Literal["bullets"] = "bullets"
    family: ClassVar[Family] = "form"
    unit = ("개", "entries")
    ko = "'- '로 시작하는 목록으로 쓰고, 항목은 {amount|으로} 하세요."
    en = "Write a bulleted list ('- ') with {amount}."

    def count(self, text: str) -> int:
        return len(bullets(text))


class Numbered(Amount):
    """A list numbered 1, 2, 3 without a gap; a list that is not counts as none."""

    kind: Literal["numbered"] = "numbered"
    family: ClassVar[Family] = "form"
    unit = ("개", "entries")
    ko = "1., 2.처럼 번호를 붙인 목록으로 쓰고, 항목은 {amount|으로} 하세요."
    en = "Write a numbered list (1., 2., ...) with {amount}."

    def count(self, text: str) -> int:
        found = [number for number, _ in numbered(text)]
        return len(found) if found == list(range(1, len(found) + 1)) else 0


class Json(BaseCheck):
    """One JSON object with the keys given and no other, bare or in a code block, alone."""

    kind: Literal["json"] = "json"
    keys: tuple[str, ...] = Field(min_length=1)
    family: ClassVar[Family] = "form"
    ko = "설명 없이 JSON 객체 하나로만 답하고, 키는 {keys}만 쓰세요."
    en = "Answer with one JSON object and nothing else, with exactly these keys: {keys}."

    def __call__(self, text: str) -> bool:
        fenced = _FENCED.match(text.strip())
        try:
            value = json.loads(fenced[1] if fenced else text)
        except (ValueError, RecursionError):
            return False
        return isinstance(value, dict) and set(value) == set(self.keys)


class Table(BaseCheck):
    """A Markdown table with so many columns in every row and at least one row of content."""

    kind: Literal["table"] = "table"
    columns: Count
    family: ClassVar[Family] = "form"
    ko = "열이 {columns}개인 마크다운 표로 답하세요."
    en = "Answer with a Markdown table of {columns} columns."

    def __call__(self, text: str) -> bool:
        rows = [line for line in lines(text) if line.startswith("|") and line.endswith("|")]
        if len(rows) < 3 or not re.fullmatch(r"\|(\s*:?-+:?\s*\|)+", rows[1]):
            return False
        return all(len(re.findall(r"(?<!\\)\|", row)) - 1 == self.columns for row in rows)


class Heading(BaseCheck):
    """The first line is a Markdown heading."""

    kind: Literal["heading"] = "heading"
    family: ClassVar[Family] = "form"
    ko = "첫 줄은 '# '로 시작하는 제목으로 쓰세요."
    en = "Make the first line a heading that begins with '# '."

    def __call__(self, text: str) -> bool:
        return re.match(r"#{1,6} \S", text.strip()) is not None


class Code(BaseCheck):
    """At least one closed code block that holds something."""

    kind: Literal["code"] = "code"
    family: ClassVar[Family] = "form"
    ko = "코드는 ```로 감싼 코드 블록에 넣으세요."
    en = "Put the code into a code block fenced with ```."

    def __call__(self, text: str) -> bool:
        return re.search(r"^```[\w+-]*[ \t]*\n.*?\S.*?\n```[ \t]*$", text, re.S | re.M) is not None


class Bold(BaseCheck):
    kind: Literal["bold"] = "bold"
    at_least: Count = 1
    family: ClassVar[Family] = "form"
    ko = "중요한 부분 {at_least}곳 이상을 **굵게** 표시하세요."
    en = "Highlight at least {at_least} parts in **bold**."

    def __call__(self, text: str) -> bool:
        return len(re.findall(r"\*\*[^*\n]*[^*\s][^*\n]*\*\*", text)) >= self.at_least


class Quoted(BaseCheck):
    """The whole answer in double quotes."""

    kind: Literal["quoted"] = "quoted"
    family: ClassVar[Family] = "form"
    ko = "답 전체를 큰따옴표로 감싸세요."
    en = "Wrap the whole answer in double quotation marks."

    def __call__(self, text: str) -> bool:
        inside = re.fullmatch(r"(?:\"[^\"]+\"|“[^“”]+”)", text.strip(), re.DOTALL)
        return inside is not None


class Titled(BaseCheck):
    """A title in double angle brackets somewhere."""

    kind: Literal["titled"] = "titled"
    family: ClassVar[Family] = "form"
    ko = "<<제목>>처럼 겹꺾쇠로 감싼 제목을 붙이세요."
    en = "Give it a title in double angle brackets, such as <<title>>."

    def __call__(self, text: str) -> bool:
        return re.search(r"<<[^<>\n]*[^<>\s][^<>\n]*>>|《[^《》\n]+》", text) is not None


class Choice(BaseCheck):
    """One of the options, word for word; a full stop behind it does not count."""

    kind: Literal["choice"] = "choice"
    options: tuple[str, ...] = Field(min_length=2)
    family: ClassVar[Family] = "form"
    ko = "다음 중 하나로만 답하세요: {options}."
    en = "Answer with one of these and nothing else: {options}."

    def __call__(self, text: str) -> bool:
        return text.strip().rstrip(".").strip("'\"") in {one.rstrip(".") for one in self.options}


class Postscript(BaseCheck):
    """The last paragraph begins with a mark such as ``추신:``."""

    kind: Literal["postscript"] = "postscript"
    mark: str = "추신:"
    family: ClassVar[Family] = "form"
    ko = "마지막에 '{mark}'으로 시작하는 덧붙임을 한 문단 쓰세요."
    en = "Add a last paragraph that begins with '{mark}'."

    def __call__(self, text: str) -> bool:
        last = (paragraphs(text) or [""])[-1]
        final = last.splitlines()[-1].strip() if last else ""
        behind = next((t for t in (last, final) if t.startswith(self.mark)), "")
        return bool(behind.removeprefix(self.mark).strip())


class Parts(BaseCheck):
    """So many parts, parted by lines of ``***``, none of them empty."""

    kind: Literal["parts"] = "parts"
    exactly: Count
    family: ClassVar[Family] = "form"
    ko = "답을 {exactly}부분으로 나누고, 그 사이에 ***만 있는 줄을 넣으세요."
    en = "Write {exactly} parts, parted by lines that hold only ***."

    def __call__(self, text: str) -> bool:
        parts = re.split(r"^\s*\*\*\*\s*$", text.strip(), flags=re.MULTILINE)
        return len(parts) == self.exactly and all(part.strip() for part in parts)


class Separated(BaseCheck):
    """One line of so many values with commas between them."""

    kind: Literal["separated"] = "separated"
    exactly: Count
    family: ClassVar[Family] = "form"
    ko = "쉼표로 구분한 낱말 {exactly}개를 한 줄로만 쓰세요."
    en = "Write one line of {exactly} items separated by commas and nothing else."

    def __call__(self, text: str) -> bool:
        values = text.strip().split(",")
        one_line = len(lines(text)) == 1
        return one_line and len(values) == self.exactly and all(value.strip() for value in values)
