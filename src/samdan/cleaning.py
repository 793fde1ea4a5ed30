"""How a text is cleaned, as a spec: what is repaired, what is capped, which lines are left out.

The work is done in ``data/cleaning.py``. Everything that is changed is counted by its name there.
To add a boilerplate rule: name it in ``BoilerplateRule`` and write it in ``data/boilerplate.py``; a
test holds that the two agree.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from samdan.spec import Count, Share, Spec, Whole

BoilerplateRule = Literal[
    "copyright", "reprint", "reporter", "photo_credit", "menu", "share", "cookies", "promotion"
]
BOILERPLATE_RULES: tuple[BoilerplateRule, ...] = get_args(BoilerplateRule)


class FrequentLines(Spec):
    """Lines that many documents share are furniture: found in one pass, left out in a second.

    Lines of code, headings, tables, list items and other structure are never counted.
    """

    at_least_documents: Count = 20
    """A line in fewer documents stays, however small the corpus is."""
    at_least_share: Share = 0.1
    """And it must stand in this share of all documents."""
    min_chars: Count = 12
    """Shorter lines are answers, names and headings without a mark: they stay."""
    max_chars: Count = 300
    """Longer lines are paragraphs: copies of those are for deduplication."""

    @model_validator(mode="after")
    def _ordered(self) -> FrequentLines:
        if self.min_chars > self.max_chars:
            raise ValueError("min_chars must not be larger than max_chars")
        return self


class Cleaning(Spec):
    """What is done to the text of a document before filters see it.

    Unicode NFC, line ends, control and invisible characters and white space at line ends are always
    put in order.
    """

    repair_encoding: bool = True
    """Undo text that was read in a wrong encoding (UTF-8 or CP949 taken for Latin-1)."""
    normalize_width: bool = True
    """Full-width ASCII and half-width jamo to their usual forms; never NFKC, which breaks jamo."""
    max_jamo_run: Count = 3
    """ㅋㅋㅋㅋㅋ is cut to so many letters."""
    max_char_run: Annotated[int, Field(strict=True, ge=5)] = 20
    """Other repeated characters (하하하, !!!!) are cut to so many; rules and ASCII words stay."""
    max_blank_lines: Whole = 2
    """So many blank lines in a row stay."""
    boilerplate: tuple[BoilerplateRule, ...] = BOILERPLATE_RULES
    """Rules whose lines are left out: copyright notices, reporters' names, menus, ..."""
    frequent_lines: FrequentLines | None = None
    """Leave out lines that many documents of the source share; takes a second pass."""
