"""How much of an expected answer is in a given one: exact match, F1 and ROUGE.

Korean inflects at the end of a word, so words make bad units: as in KorQuAD's own script, answers
are compared by character, here for Hangul and Chinese characters only; Latin words and numbers stay
whole. For English this is SQuAD's F1 and ROUGE over lower-case words without stemming.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

_TOKEN: Final = re.compile(
    r"\d+(?:[.,]\d+)*|[가-힣ㄱ-ㅎㅏ-ㅣ\u3400-\u9fff]|[^\W\d_가-힣\u3400-\u9fff]+"
)
_ARTICLE: Final = re.compile(r"\b(?:a|an|the)\b")
_COPULA: Final = re.compile(r"(?<=\S)\s?(?:입니다|이에요|예요|이예요|이다)$")
_POLITE_TAIL: Final = re.compile(r"[\s.!?。~…]+$")


def normalise_answer(text: str) -> str:
    """NFKC, lower case, without punctuation, English articles and a final copula (입니다)."""
    text = unicodedata.normalize("NFKC", text).lower().strip()
    text = _COPULA.sub("", _POLITE_TAIL.sub("", text))
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text)
    text = "".join(" " if _is_mark(char) else char for char in text)
    text = re.sub(r"(?<!\d)\.|\.(?!\d)", " ", text)
    return " ".join(_ARTICLE.sub(" ", text).split())


def _is_mark(char: str) -> bool:
    return unicodedata.category(char)[0] in "PS" and char not in "%.+#"


def exact_match(answer: str, expected: Sequence[str]) -> float:
    """1 where the answer equals one of the expected ones; white space does not count."""
    said = normalise_answer(answer).replace(" ", "")
    return float(any(said == normalise_answer(one).replace(" ", "") for one in expected))


def tokens(text: str) -> list[str]:
    """Hangul and Chinese by character, other words and numbers whole."""
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).lower())


def f1(answer: str, expected: Sequence[str]) -> float:
    """The best F1 of shared tokens with one of the expected answers (SQuAD's and KorQuAD's)."""
    return _best(_shared, tokens(normalise_answer(answer)), expected, normalise_answer)


def rouge_l(answer: str, expected: Sequence[str]) -> float:
    """The best F1 of the longest common subsequence (ROUGE-L at the level of the text)."""
    return _best(_subsequence, tokens(answer), expected, str)


def rouge_n(answer: str, expected: Sequence[str], size: int) -> float:
    """The best F1 of shared n-grams (ROUGE-1, ROUGE-2)."""

    def shared(a: Sequence[str], b: Sequence[str]) -> float:
        mine, theirs = _grams(a, size), _grams(b, size)
        return _f1((mine & theirs).total(), mine.total(), theirs.total())

    return _best(shared, tokens(answer), expected, str)


def _best(
    measure: Callable[[Sequence[str], Sequence[str]], float],
    said: Sequence[str],
    expected: Sequence[str],
    prepare: Callable[[str], str],
) -> float:
    return max((measure(said, tokens(prepare(one))) for one in expected), default=0.0)


def _shared(a: Sequence[str], b: Sequence[str]) -> float:
    if not a or not b:
        return float(a == b)
    return _f1((Counter(a) & Counter(b)).total(), len(a), len(b))


def _subsequence(a: Sequence[str], b: Sequence[str]) -> float:
    row = [0] * (len(b) + 1)
    for one in a:
        diagonal = 0
        for at, other in enumerate(b, 1):
            above = row[at]
            row[at] = diagonal + 1 if one == other else max(above, row[at - 1])
            diagonal = above
    return _f1(row[-1], len(a), len(b))


def _grams(sequence: Sequence[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(sequence[i : i + size]) for i in range(len(sequence) - size + 1))


def _f1(common: int, mine: int, theirs: int) -> float:
    return 2 * common / (mine + theirs) if common else 0.0
