"""Language detection by py3langid, for texts whose scripts do not tell: offline, one model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from typing import Any, Final

from samdan.filters import TextView, language_of
from samdan.records import EnvironmentFailure

# Four stretches of a text, evenly spread: pages that open in English go on in Korean.
STRETCHES: Final = 4
STRETCH_CHARS: Final = 1000
SEARCHED_CHARS: Final = 100_000  # of the start of a text
_FENCED_CODE: Final = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)


def detect(text: str) -> str:
    """ISO 639 code of the likeliest language; ``und`` for a text without letters."""
    text = text[:SEARCHED_CHARS]
    # Code is English to a detector, whatever the page around it is written in.
    for prose in (_FENCED_CODE.sub("", text), text):
        sample = _spread(prose)
        if any(map(str.isalpha, sample)):
            return str(detector().classify(sample)[0])
    return "und"


def _spread(text: str) -> str:
    if len(text) <= STRETCHES * STRETCH_CHARS:
        return text
    step = (len(text) - STRETCH_CHARS) / (STRETCHES - 1)
    starts = [round(step * index) for index in range(STRETCHES)]
    return "\n".join(text[start : start + STRETCH_CHARS] for start in starts)


@cache
def detector() -> Any:
    """The process's one detector. Raises EnvironmentFailure when py3langid is missing."""
    try:
        langid = import_module("py3langid.langid")
    except ImportError:
        raise EnvironmentFailure(
            "telling languages apart needs py3langid, which is not installed: "
            "pip install 'samdan[corpus]'"
        ) from None
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)


def language_shares(views: Iterable[TextView]) -> dict[str, float]:
    """Language code to its share of the texts' UTF-8 bytes, largest first; for the data card."""
    sizes: Counter[str] = Counter()
    for view in views:
        sizes[language_of(view)] += len(view.text.encode(errors="replace"))
    total = sum(sizes.values())
    ordered = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
    return {code: size / total for code, size in ordered if size}
