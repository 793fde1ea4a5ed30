"""Secrets: keys that carry their maker's prefix, and values assigned to a name that says secret."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from samdan.data.numbers import Span
from samdan.personal import PersonalKind
from samdan.redaction import PREFIXES

# What a key can look like at all; most texts hold few such words, and the prefix decides.
TOKEN: Final = re.compile(r"[A-Za-z](?<![A-Za-z0-9_.-][A-Za-z])[A-Za-z0-9_.-]{19,400}")
STARTS: Final = tuple(PREFIXES)
KEYS: Final = re.compile(
    "(?:" + "|".join(re.escape(p) + rest for p, rest in PREFIXES.items()) + ")(?![A-Za-z0-9_-])"
)
WEBHOOK: Final = re.compile(
    r"hooks\.slack\.com/services/(T[0-9A-Z]{8,12}/B[0-9A-Z]{8,12}/[0-9A-Za-z]{20,30})"
)
JWT: Final = re.compile(
    r"eyJ(?<![A-Za-z0-9_.-]eyJ)[A-Za-z0-9_-]{8,2000}\.eyJ[A-Za-z0-9_-]{8,8000}\.[A-Za-z0-9_-]{16,1000}"
)
KEY_BEGIN: Final = re.compile(r"-----BEGIN ([A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?)-----")
KEY_BODY: Final = re.compile(r"(?:[A-Za-z0-9+/=\s\\:,.]|-(?!----))*")

# A value behind : or =; looked ahead, so that assignments inside a value are seen as well.
ASSIGNED: Final = re.compile(
    r"[:=](?![:=])(?=>?[ \t]{0,3}(?:\"([^\"\n]{4,200})\"|'([^'\n]{4,200})'"
    r"|([!#$%*+./0-9:=?@A-Z\\^_a-z~-]{4,200})))"  # no Hangul: password=abc1!입니다
)
DIGIT_OR_SIGN: Final = re.compile("[0-9!@#$%^&*+?~]")
IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_.$]+")
NAME_BEFORE: Final = re.compile(r"([A-Za-z가-힣][A-Za-z0-9가-힣_.-]{0,40})[\"'\]]{0,2}\s{0,3}$")
XML_NAME: Final = re.compile(r"name\s?=\s?[\"']([\w.-]{2,40})[\"']\s{1,4}value\s?$")
PASSWORD_NAME: Final = re.compile(
    r"(?i:pass(?:word|wd|phrase)?|passwd|pwd|(?:^|[_.-])pw)$|비밀번호$|패스워드$|암호$"
)
KEY_NAME: Final = re.compile(
    r"(?i:api[_.-]?key|secret(?:[_.-]?(?:key|access[_.-]?key|token))?|access[_.-]?(?:token|key)"
    r"|auth[_.-]?token|(?:rest|admin|native|javascript)[_.-]?(?:api[_.-]?)?key"
    r"|(?:app|service|account|private)[_.-]?key|bearer)$|인증키$|서비스키$"
)
PLACEHOLDER: Final = re.compile(
    r"(?i)\$\{|#\{|\{\{|%[sd(]|\*{3}|x{4}|\.{3}|your|example|sample|dummy|placeholder|changeme"
    r"|password|passwd|(?:secret|api|test)[_-]?key|<|>|^(?:null|none|true|false|undefined|string)$"
)
KEY_VALUE: Final = re.compile(r"[A-Za-z0-9+/_=.%~-]{16,200}")
# 비밀번호는 hunter2입니다: said in a sentence, and nothing else can be meant.
SAID: Final = re.compile(
    r"(?:비밀번호|패스워드|암호)[는은가]?\s?[:=]?\s?[\"'“‘`]?([!#-&(-_a-~]{4,40}?)[\"'”’`]?"
    r"(?=\s?(?:입니다|이다|이고|이며|이니|으?로|예요|이에요|임)(?![가-힣]*\s?(?:구성|이루|시작)))"
)
URL_LOGIN: Final = re.compile(r"://[^\s:/@\"'<>⟨⟩]{1,64}:([^\s:/@\"'<>⟨⟩]{3,128})@(?=[A-Za-z0-9\[])")
MIN_ENTROPY: Final = 3.0  # bits per character: below it are words and repetitions


def credentials(text: str) -> Iterator[Span]:
    """Private keys, provider keys, JSON web tokens, passwords and other assigned secrets."""
    for match in KEY_BEGIN.finditer(text):
        yield "private_key", match.start(), _key_end(text, match)
    if "eyJ" in text:
        for match in JWT.finditer(text):
            yield "jwt", *match.span()
    for token in TOKEN.finditer(text):
        key = KEYS.match(token[0]) if token[0].startswith(STARTS) else None
        if key and _has_entropy(key[0]) and any(c.isdigit() or c.isupper() for c in key[0][4:]):
            yield "api_key", token.start(), token.start() + key.end()
    if "hooks.slack.com" in text:
        for match in WEBHOOK.finditer(text):
            yield "api_key", *match.span(1)
    if "://" in text:
        for match in URL_LOGIN.finditer(text):
            if not PLACEHOLDER.search(match[1]) and match[1] not in ("pass", "pwd"):
                yield "password", *match.span(1)
    for match in SAID.finditer(text):
        if DIGIT_OR_SIGN.search(match[1]) and not PLACEHOLDER.search(match[1]):
            yield "password", *match.span(1)
    yield from _assigned(text)


def _key_end(text: str, begin: re.Match[str]) -> int:
    """The end of the key's block; without a last line, the end of what looks like its body."""
    last = f"-----END {begin[1]}-----"
    body = KEY_BODY.match(text, begin.end())
    end = body.end() if body else begin.end()
    return end + len(last) if text.startswith(last, end) else end


def _assigned(text: str) -> Iterator[Span]:
    for match in ASSIGNED.finditer(text):
        group = next(g for g in (1, 2, 3) if match[g] is not None)
        value, (start, end) = match[group], match.span(group)
        if not DIGIT_OR_SIGN.search(value):
            continue
        window = max(0, match.start() - 64)
        name = NAME_BEFORE.search(text, window, match.start())
        if name is None:
            continue
        word = name[1]
        if word == "value" and (xml := XML_NAME.search(text, window, match.start())):
            word = xml[1]
        kind = _kind(word, value, quoted=group < 3, after=text[end : end + 1])
        if kind is not None:
            yield kind, start, end


def _kind(name: str, value: str, quoted: bool, after: str) -> PersonalKind | None:
    """What a value is, by the name it is assigned to and by what it looks like."""
    if PASSWORD_NAME.search(name):
        return "password" if _is_password(value, quoted, after) else None
    is_key = KEY_NAME.search(name) and KEY_VALUE.fullmatch(value) and _random(value)
    return "api_key" if is_key and not PLACEHOLDER.search(value) else None


def _is_password(value: str, quoted: bool, after: str) -> bool:
    """A literal and no expression, message, type or example: it holds a digit or a sign."""
    if PLACEHOLDER.search(value) or not value.isascii() or " " in value:
        return False
    if not quoted and after in tuple("([{);,") and IDENTIFIER.fullmatch(value):
        return False  # code: a call, a variable
    if value.startswith(("/", "http", ".", "-", "@", "#{", "=")):
        return False
    return any(char.isalpha() for char in value) or value.isdigit()


def _random(value: str) -> bool:
    """Letters and digits, and nothing that was typed as a word."""
    mixed = any(c.isdigit() for c in value) and any(c.isalpha() for c in value)
    return mixed and _has_entropy(value)


def _has_entropy(value: str) -> bool:
    total = len(value)
    entropy = -sum(n / total * math.log2(n / total) for n in Counter(value).values())
    return entropy >= MIN_ENTROPY
