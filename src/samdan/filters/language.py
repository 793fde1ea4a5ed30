"""Which language a document is in: Hangul decides, a detector only where Hangul does not.

Detectors fail on what is plainly Korean: jamo (``ㅋㅋㅋ ㅠㅠ`` came out as Japanese and as English)
and mixed hanja (as Chinese). Korean has a script of its own, so its share of the letters decides
first; see ``docs/filters.md`` for what was measured.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from samdan.filters.base import DocumentFilter
from samdan.filters.view import Scripts, TextView
from samdan.records import Document, Drop
from samdan.spec import Share

KOREAN_SHARE: Final = 0.2  # Korean documentation with code in it: 0.2 and more of the letters
UNKNOWN: Final = "und"

Code = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]


class Language(DocumentFilter):
    """Keeps documents of the given languages."""

    kind: Literal["language"] = "language"
    keep: tuple[Code, ...] = Field(default=("ko",), min_length=1)
    """ISO 639 codes; ``und`` is text whose language cannot be told, such as a table of numbers."""
    korean_share: Share = KOREAN_SHARE
    """From this share of Hangul among the letters on, a document is Korean without further ado."""

    @property
    def needs_detector(self) -> bool:
        return True

    def __call__(self, document: Document, view: TextView) -> Drop | None:
        code = decided(view.scripts, self.korean_share)
        if code is None and self.keep == ("ko",) and not view.scripts.hangul:
            share = view.scripts.hangul_share  # whatever it is, it is not Korean: nothing to detect
            return self.dropped(document, f"language other, Hangul {share:.3f} of the letters")
        code = code or view.detected
        if code in self.keep:
            return None
        share = view.scripts.hangul_share
        return self.dropped(
            document, f"language {code}, Hangul {share:.3f}; kept: {', '.join(self.keep)}"
        )


def language_of(view: TextView, korean_share: float = KOREAN_SHARE) -> str:
    """ISO 639 code of the document's language; asks the detector only where scripts are unclear."""
    return decided(view.scripts, korean_share) or view.detected


def decided(scripts: Scripts, korean_share: float) -> str | None:
    """The language where the scripts alone tell, else None.

    Han letters beside Hangul are hanja: they do not speak against Korean, and Hangul endings among
    hanja are few. Kana that outnumber Hangul mean Japanese that quotes Korean.
    """
    if not scripts.letters:
        return UNKNOWN
    if not scripts.hangul or scripts.hangul < scripts.kana:
        return None
    if scripts.hangul_share >= korean_share:
        return "ko"
    # Particles and endings are a tenth and more of mixed script; a Korean word that Chinese text
    # quotes is less.
    beside_han = scripts.letters - scripts.han
    if scripts.hangul >= 0.1 * scripts.letters and scripts.hangul >= 0.5 * beside_han:
        return "ko"
    return None
