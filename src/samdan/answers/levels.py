"""The speech level (상대 높임법) of a Korean sentence, by its final ending."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final, Literal

from samdan.answers.text import has_hangul, sentences, without_code
from samdan.hangul import is_syllable

Level = Literal["hapsyo", "haeyo", "plain", "casual", "none"]
"""합니다체, 해요체, 한다체, 해체; ``none`` where a sentence ends in a noun or in nothing known.

Of 해체 only endings are known that no noun has: 있어, 거야, 잖아, but not every 아 and 지.
"""

_BIEUP: Final = 17  # its number among the final consonants
_CASUAL: Final = re.compile(
    r"(?:[았었였했겠갔왔됐있없싶]어|[좋같않찮많]아|(?:거|건|게)야|잖아|더라고?|[는은]데|거든|구나|[할을줄갈볼]게"
    r"|[할을줄갈볼]래|그래|봐|줘|돼|(?:좋아|싫어|생각|말|공부|사랑)해)$"
)
_TAIL: Final = re.compile(r"(?:\([^()]*\)|\[[^\[\]]*\]|[^가-힣])+$")
# Nouns that look like a 해요 ending.
_NOUNS: Final = (
    "필요", "중요", "주요", "개요", "수요", "강요", "소요", "동요", "민요", "노동요",
    "긴요", "불필요", "도요", "양요", "요요",
)  # fmt: skip
# Verbs whose stem ends in 니, and nouns that end in 다.
_NOT_HAPSYO: Final = ("아니다", "다니다", "지니다", "거니다", "끈질기다")
_NO_PREDICATE: Final = ("바다", "판다", "캐나다", "르완다", "우간다", "소다", "람다", "아다")


def level(sentence: str) -> Level:
    """The level of one sentence. Punctuation, brackets and emoji behind its end do not count."""
    text = _TAIL.sub("", sentence.strip())
    word = text.split()[-1] if text.split() else ""
    if not word:
        return "none"
    if _is_hapsyo(word):
        return "hapsyo"
    if word.endswith(("요", "죠")) and word not in _NOUNS:
        return "haeyo"
    if word.endswith("다") and word not in _NO_PREDICATE:
        return "plain"
    if _CASUAL.search(word):
        return "casual"
    return "none"


def levels(text: str) -> Counter[Level]:
    """How many sentences of the text, code left out, have which level; only those in Hangul."""
    found = [one for one in sentences(without_code(text)) if has_hangul(one)]
    return Counter(level(one) for one in found)


def one_level(text: str) -> bool:
    """Whether all sentences that have a level share it."""
    return len([name for name, count in levels(text).items() if name != "none" and count]) <= 1


def _is_hapsyo(word: str) -> bool:
    if word.endswith(("십시오", "십시요")):
        return True
    if word in _NOT_HAPSYO:
        return False
    for ending in ("니다", "니까", "시다"):
        before = word.removesuffix(ending)
        if before != word and before and _final(before[-1]) == _BIEUP:
            return True
    return False


def _final(syllable: str) -> int:
    return (ord(syllable) - ord("가")) % 28 if is_syllable(syllable) else 0
