"""Language detection by py3langid, for texts whose scripts do not tell: offline, one model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from typing import Any, Final

from samdan.filters import TextView, language_of
from samdan.records import EnvironmentFailure

DETECTED_CHARS: Final = 4000  # of the start of a text; more changes little and costs 1 ms per 3000


def detect(text: str) -> str:
    """ISO 639 code of the likeliest language; ``und`` for a text without letters."""
    sample = text[:DETECTED_CHARS]
    if not any(map(str.isalpha, sample)):
        return "und"
    return str(detector().classify(sample)[0])


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
