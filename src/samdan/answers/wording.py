"""Checks of how long an answer is, which words it holds, and in which tone it speaks."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from pydantic import Field

from samdan.answers.base import Amount, BaseCheck, Family, Language
from samdan.answers.levels import levels
from samdan.answers.text import (
    has_hangul,
    has_hanja,
    has_latin,
    lines,
    paragraphs,
    sentences,
    words,
)
from samdan.spec import Count

Phrases = tuple[str, ...]


class Characters(Amount):
    """Length in characters, white space included, without what surrounds the answer."""

    kind: Literal["characters"] = "characters"
    unit = ("자", "characters")
    ko = "공백을 포함해 {amount|으로} 쓰세요."
    en = "Write {amount}, spaces included."

    def count(self, text: str) -> int:
        return len(text.strip())


class Words(Amount):
    """Words between white space: 어절 in Korean."""

    kind: Literal["words"] = "words"
    unit = ("어절", "words")
    ko = "띄어쓰기를 기준으로 {amount|으로} 쓰세요."
    en = "Use {amount}."

    def count(self, text: str) -> int:
        return len(words(text))


class Sentences(Amount):
    kind: Literal["sentences"] = "sentences"
    unit = ("문장", "sentences")
    ko = "{amount|으로} 답하세요."
    en = "Answer in {amount}."

    def count(self, text: str) -> int:
        return len(sentences(text))


class Paragraphs(Amount):
    kind: Literal["paragraphs"] = "paragraphs"
    unit = ("문단", "paragraphs")
    ko = "{amount|으로} 나누고 문단 사이를 빈 줄로 띄우세요."
    en = "Write {amount}, with an empty line between them."

    def count(self, text: str) -> int:
        return len(paragraphs(text))


class Lines(Amount):
    """Lines that are not empty."""

    kind: Literal["lines"] = "lines"
    unit = ("줄", "lines")
    ko = "{amount|으로} 쓰세요."
    en = "Write {amount}."

    def count(self, text: str) -> int:
        return len(lines(text))


class Include(BaseCheck):
    """Every one of the words, in any case of letters."""

    kind: Literal["include"] = "include"
    words: Phrases = Field(min_length=1)
    family: ClassVar[Family] = "content"
    ko = "다음 낱말을 모두 넣으세요: {words}."
    en = "Include all of these words: {words}."

    def __call__(self, text: str) -> bool:
        return all(_count(text, word) for word in self.words)


class Exclude(BaseCheck):
    kind: Literal["exclude"] = "exclude"
    words: Phrases = Field(min_length=1)
    family: ClassVar[Family] = "content"
    ko = "다음 낱말은 쓰지 마세요: {words}."
    en = "Do not use these words: {words}."

    def __call__(self, text: str) -> bool:
        return bool(text.strip()) and not any(_count(text, word) for word in self.words)


class Occurs(BaseCheck):
    """One word at least so many times."""

    kind: Literal["occurs"] = "occurs"
    word: str
    at_least: Count = 2
    family: ClassVar[Family] = "content"
    ko = "'{word}'라는 말을 {at_least}번 이상 쓰세요."
    en = "Use the word '{word}' at least {at_least} times."

    def __call__(self, text: str) -> bool:
        return _count(text, self.word) >= self.at_least


class Starts(BaseCheck):
    kind: Literal["starts"] = "starts"
    text: str
    family: ClassVar[Family] = "content"
    ko = "답을 '{text}'로 시작하세요."
    en = "Begin the answer with '{text}'."

    def __call__(self, text: str) -> bool:
        return text.strip().startswith(self.text)


class Ends(BaseCheck):
    """The last characters, white space left out; nothing may follow."""

    kind: Literal["ends"] = "ends"
    text: str
    family: ClassVar[Family] = "content"
    ko = "답을 정확히 '{text}'로 끝내고 그 뒤에 아무것도 쓰지 마세요."
    en = "End the answer with exactly '{text}' and write nothing after it."

    def __call__(self, text: str) -> bool:
        return text.strip().endswith(self.text)


class FirstSentence(BaseCheck):
    kind: Literal["first_sentence"] = "first_sentence"
    word: str
    family: ClassVar[Family] = "content"
    ko = "첫 문장에 '{word}'라는 말을 넣으세요."
    en = "Use the word '{word}' in the first sentence."

    def __call__(self, text: str) -> bool:
        first = sentences(text)[:1]
        return bool(first) and _count(first[0], self.word) > 0


class NoEnglish(BaseCheck):
    """No Latin letter."""

    kind: Literal["no_english"] = "no_english"
    family: ClassVar[Family] = "content"
    ko = "영어 알파벳을 한 글자도 쓰지 마세요."
    en = "Answer in Korean without a single Latin letter."

    def __call__(self, text: str) -> bool:
        return bool(text.strip()) and not has_latin(text)


class NoHangul(BaseCheck):
    kind: Literal["no_hangul"] = "no_hangul"
    family: ClassVar[Family] = "content"
    ko = "한글을 쓰지 말고 영어로만 답하세요."
    en = "Answer in English only, without any Korean letters."

    def __call__(self, text: str) -> bool:
        return has_latin(text) and not has_hangul(text)


class NoDigits(BaseCheck):
    kind: Literal["no_digits"] = "no_digits"
    family: ClassVar[Family] = "content"
    ko = "아라비아 숫자를 쓰지 마세요."
    en = "Do not use any digits."

    def __call__(self, text: str) -> bool:
        return bool(text.strip()) and not re.search(r"\d", text)


class NoCommas(BaseCheck):
    kind: Literal["no_commas"] = "no_commas"
    family: ClassVar[Family] = "content"
    ko = "쉼표를 쓰지 마세요."
    en = "Do not use any commas."

    def __call__(self, text: str) -> bool:
        return bool(text.strip()) and not re.search("[,，、]", text)


class NoHanja(BaseCheck):
    """Text without Chinese characters."""

    kind: Literal["no_hanja"] = "no_hanja"
    family: ClassVar[Family] = "content"
    ko = "한자를 쓰지 마세요."
    en = "Do not use any Chinese characters."

    def __call__(self, text: str) -> bool:
        return bool(text.strip()) and not has_hanja(text)


class WithNumber(BaseCheck):
    kind: Literal["with_number"] = "with_number"
    family: ClassVar[Family] = "content"
    ko = "아라비아 숫자로 쓴 수를 하나 이상 넣으세요."
    en = "Include at least one number written in digits."

    def __call__(self, text: str) -> bool:
        return re.search(r"\d", text) is not None


class Asks(BaseCheck):
    """Ends with a question."""

    kind: Literal["asks"] = "asks"
    family: ClassVar[Family] = "tone"
    ko = "마지막 문장은 질문으로 끝내세요."
    en = "Make the last sentence a question."

    def __call__(self, text: str) -> bool:
        return text.strip().endswith(("?", "？"))


class SpeechLevel(BaseCheck):
    """Every sentence in one Korean speech level: 합니다체, 해요체 or 한다체."""

    kind: Literal["level"] = "level"
    level: Literal["hapsyo", "haeyo", "plain"]
    family: ClassVar[Family] = "tone"
    names: ClassVar = {
        "hapsyo": ("합니다체", "the formal polite style (합니다체)"),
        "haeyo": ("해요체", "the informal polite style (해요체)"),
        "plain": ("한다체", "the plain style (한다체)"),
    }
    ko = "모든 문장을 {level}로 쓰세요."
    en = "Write every sentence in Korean, in {level}."

    def __call__(self, text: str) -> bool:
        return set(levels(text)) == {self.level}

    def asked(self, language: Language) -> str:
        named = self.names[self.level][language == "en"]
        return (self.ko if language == "ko" else self.en).replace("{level}", named)


class Lower(BaseCheck):
    """English without a capital letter."""

    kind: Literal["lower"] = "lower"
    family: ClassVar[Family] = "tone"
    ko = "영어 소문자로만 쓰세요."
    en = "Use lowercase letters only."

    def __call__(self, text: str) -> bool:
        return has_latin(text) and text == text.lower()


class Upper(BaseCheck):
    kind: Literal["upper"] = "upper"
    family: ClassVar[Family] = "tone"
    ko = "영어 대문자로만 쓰세요."
    en = "Use capital letters only."

    def __call__(self, text: str) -> bool:
        return has_latin(text) and text == text.upper()


def _count(text: str, word: str) -> int:
    """Occurrences: a Latin word whole, a Korean one as a part (particles follow it directly)."""
    pattern = re.escape(word)
    if word.isascii():
        pattern = rf"(?<![A-Za-z0-9]){pattern}(?![A-Za-z0-9])"
    return len(re.findall(pattern, text, re.IGNORECASE))
