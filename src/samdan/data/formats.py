"""From a row to a record of a stage, whatever shape the row has; what is no record is a Drop.

To add a format for SFT: name its columns in ``FORMATS`` and read it in ``_spoken``.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from typing import Any, Final, Literal

from samdan.data.sources import Row, read_rows
from samdan.recipe import Source
from samdan.records import (
    Conversation,
    DataError,
    Document,
    Drop,
    Message,
    PreferencePair,
    Record,
    Role,
)
from samdan.spec import nearest_key

StageKind = Literal["cpt", "sft", "dpo"]

END_MARKERS: Final = ("<|endoftext|>", "<|im_end|>", "</s>", "<eos>", "<|eot_id|>")
META: Final = ("title", "date", "source", "license", "path")
# In the order in which they are looked for; the first whose columns all hold a value is taken.
FORMATS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "messages": ("messages",),
        "sharegpt": ("conversations",),
        "prompt_completion": ("prompt", "completion"),
        "alpaca": ("instruction", "output"),
    }
)
_CHAT: Final = ("messages", "conversations", "prompt", "instruction", "input", "history", "system")
COLUMNS: Final[Mapping[StageKind, tuple[str, ...]]] = MappingProxyType(
    {
        "cpt": ("text", *META),
        "sft": (*_CHAT, "completion", "output"),
        "dpo": (*_CHAT, "chosen", "rejected"),
    }
)
STAGE_FORMATS: Final[Mapping[StageKind, tuple[str, ...]]] = MappingProxyType(
    {
        "cpt": ("auto", "text"),
        "sft": ("auto", *FORMATS),
        "dpo": ("auto", "preference", "messages", "sharegpt", "alpaca"),
    }
)
ROLES: Final[Mapping[str, Role]] = MappingProxyType(
    {"system": "system"}
    | dict.fromkeys(("user", "human", "usr"), "user")
    | dict.fromkeys(("assistant", "gpt", "bot", "model", "chatgpt"), "assistant")
)
# Letters and marks that show nothing: Hangul fillers, the joiner, variation selectors, Braille blank.
_INVISIBLE: Final = frozenset("\u115f\u1160\u3164\uffa0\u034f\u2800") | {
    chr(code) for code in range(0xFE00, 0xFE10)
}
