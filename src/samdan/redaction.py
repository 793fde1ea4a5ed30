"""Secrets in what samdan writes about a run: one place that blanks them out.

Messages of libraries quote addresses, headers and values; a recipe or an environment variable may
hold a token. What goes to a terminal, a log, a report or a model card passes ``redacted`` first.
Training text is another matter: ``data/personal.py`` masks what lies in documents.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

BLANK: Final = "[secret]"
PREFIXES: Final[Mapping[str, str]] = {
    "AKIA": "[0-9A-Z]{16}",  # AWS
    "ASIA": "[0-9A-Z]{16}",
    "AIza": "[0-9A-Za-z_-]{35}",  # Google
    "GOCSPX-": "[0-9A-Za-z_-]{28}",
    "ya29.": "[0-9A-Za-z_-]{20,300}",
    **dict.fromkeys(("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), "[0-9A-Za-z]{36}"),  # GitHub
    "github_pat_": "[0-9A-Za-z_]{40,90}",
    "glpat-": "[0-9A-Za-z_-]{20}",  # GitLab
    **dict.fromkeys(("xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-"), "[0-9A-Za-z-]{20,90}"),  # Slack
    "sk-": "(?:proj-|svcacct-|ant-|or-)?[0-9A-Za-z_-]{20,200}",  # OpenAI, Anthropic, OpenRouter
    "hf_": "[0-9A-Za-z]{30,40}",  # Hugging Face
    "sk_live_": "[0-9A-Za-z]{20,100}",  # Stripe
    "rk_live_": "[0-9A-Za-z]{20,100}",
    "npm_": "[0-9A-Za-z]{36}",
    "pypi-": "[0-9A-Za-z_-]{50,250}",
    "SG.": r"[0-9A-Za-z_-]{16,30}\.[0-9A-Za-z_-]{30,60}",  # SendGrid
}
_KEY: Final = "(?:" + "|".join(re.escape(p) + rest for p, rest in PREFIXES.items()) + ")"
_KEYS: Final = re.compile(rf"(?<![A-Za-z0-9_-]){_KEY}(?![A-Za-z0-9_-])")
_LOGIN: Final = re.compile(r"(?<=://)[^\s/@\"'<>]{1,256}@(?=[A-Za-z0-9\[])")
_HEADER: Final = re.compile(r"(?i)(\b(?:bearer|basic)\s+)[A-Za-z0-9+/=._~-]{12,}")
_QUERY: Final = re.compile(
    r"(?i)([?&][A-Za-z0-9_-]{0,30}(?<![A-Za-z0-9])(?:api)?(?:token|key|secret|password|sig|signature)=)[^\s&#\"'<>]+"
)
_SECRET_NAME: Final = re.compile(
    r"(?i)(?:^|_)(?:token|key|secret|passw(?:or)?d|credentials?)(?:_|$)"
)
_TEXT_TOKEN: Final = re.compile(r"(?i)(?:^|_)(?:pad|eos|bos|unk|sep|cls|mask|image)_token$")
MIN_LENGTH: Final = 8  # of a variable's value: shorter ones stand in ordinary words


def redacted(text: str, known: Iterable[str] = ()) -> str:
    """The text without keys of known makers, logins in addresses, and the ``known`` values."""
    for value in known:
        text = text.replace(value, BLANK)
    text = _KEYS.sub(BLANK, text)
    if "://" in text:
        text = _LOGIN.sub(f"{BLANK}@", text)
    return _QUERY.sub(rf"\1{BLANK}", _HEADER.sub(rf"\1{BLANK}", text))


def redacted_values(value: Any, known: Iterable[str] = ()) -> Any:
    """The same for every string of a JSON value, keys too."""
    known = tuple(known)
    if isinstance(value, str):
        return redacted(value, known)
    if isinstance(value, Mapping):
        return {
            redacted(key, known) if isinstance(key, str) else key: redacted_values(inner, known)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [redacted_values(inner, known) for inner in value]
    return value


def masked(value: Any) -> Any:
    """A configuration of somebody else's without its secrets: of keys named like one, the value."""
    return redacted_values(_unnamed(value))


def _unnamed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: BLANK if _is_secret(key, inner) else _unnamed(inner)
                for key, inner in value.items()}  # fmt: skip
    return [_unnamed(inner) for inner in value] if isinstance(value, list | tuple) else value


def _is_secret(key: Any, value: Any) -> bool:
    named = isinstance(key, str) and _SECRET_NAME.search(key) and not _TEXT_TOKEN.search(key)
    return bool(named) and isinstance(value, str) and len(value) >= MIN_LENGTH


def secrets_of(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Values of variables whose name says that they are secret, the longest first."""
    found = {
        value
        for name, value in environment.items()
        if len(value) >= MIN_LENGTH and _SECRET_NAME.search(name) and "/" not in value[:1]
    }
    return tuple(sorted(found, key=len, reverse=True))


def secret_in(text: str) -> bool:
    """Whether the text holds a key or a login; of a recipe, which is written into the run."""
    return bool(_KEYS.search(text) or _LOGIN.search(text) or _HEADER.search(text))
