"""Plain text: notes and Markdown as they are, conversations without their times.

A messenger's export and the subtitles of a meeting become ``speaker: words``, a line each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from samdan.data.readers.encodings import decode
from samdan.data.readers.file import File, Row, described, document, iso_date
from samdan.records import Drop

# The first line of an export of KakaoTalk, in Korean or English, and the names in it.
_KAKAO: Final = re.compile(
    r"\s*(.{1,200}?) ?(?:님과|과|와)?(?: \d+)? (?:카카오톡 대화|KakaoTalk Chats)"
    r"|KakaoTalk Chats with (.*)"
)
_CLOCK: Final = r"(?:(?:오전|오후) ?\d{1,2}:\d\d|\d{1,2}:\d\d(?: ?[AP]M)?)"
_DAY: Final = r"\d{4}[년.] ?\d{1,2}[월.] ?\d{1,2}(?:일|\.)?"
_SAID: Final = (
    re.compile(rf"\[(?P<who>[^\]]{{1,80}})\] \[{_CLOCK}\] (?P<words>.*)"),
    re.compile(rf"{_DAY},? {_CLOCK}, (?P<who>[^:]{{1,80}}?) : (?P<words>.*)"),
)
# Lines that only say when; what happened then (who came and went) is kept.
_WHEN: Final = re.compile(
    rf"-* ?{_DAY}(?: .요일)?(?: {_CLOCK})? ?-*|(?:저장한 날짜|Date Saved) ?:.*"
)
_STAMP: Final = re.compile(rf"{_DAY},? {_CLOCK}(?:, |: ?)")

_CUE: Final = re.compile(r"\s*(?:\d+:)?\d+:\d\d[.,]\d+\s*-->\s*(?:\d+:)?\d+:\d\d[.,]\d+.*")
_VOICE: Final = re.compile(r"<v(?:\.[^ \t>]*)?[ \t]+([^>]{1,200})>")
_TAG: Final = re.compile(r"</?[A-Za-z0-9][^<>]{0,200}>|\{\\[^{}]{0,200}\}")
_ENTITIES: Final = {"&lt;": "<", "&gt;": ">", "&nbsp;": " ", "&lrm;": "", "&rlm;": "", "&amp;": "&"}


def text_rows(file: File) -> Iterator[Row | Drop]:
    """A file is one document, its text unchanged; an empty one gives nothing."""
    text, notes = decode(file.read())
    if not text:
        return
    found = _KAKAO.match(text[:300].partition("\n")[0])
    if found and (talk := "\n".join(_kakao(text.splitlines()))):
        title = (found[1] or found[2] or "").strip()
        yield document(file, talk, title, iso_date(_saved(text)), (*notes, "kakaotalk_export"))
    else:
        yield Row(described(file, text), file.origin, notes)


def _saved(text: str) -> str:
    found = re.search(r"(?:저장한 날짜|Date Saved) ?: ?(.{0,40})", text[:1000])
    return found[1] if found else ""


def _kakao(lines: Iterable[str]) -> Iterator[str]:
    """The lines behind the first; none at all when nobody says anything: another kind of text."""
    talk: list[str] = []
    said = False
    for line in list(lines)[1:]:
        found = next((match for form in _SAID if (match := form.fullmatch(line))), None)
        if found:
            talk.append(f"{found['who']}: {found['words']}")
            said = True
        elif not _WHEN.fullmatch(line.strip()):
            talk.append(_STAMP.sub("", line, count=1))
    return iter(talk if said else ())


def subtitle_rows(file: File) -> Iterator[Row | Drop]:
    """WebVTT and SubRip: what is said, without times; a speaker's cues in a row are one line."""
    text, notes = decode(file.read())
    lines: list[str] = []
    speaking = ""
    for speaker, words in _cues(text):
        if speaker and speaker == speaking:
            lines[-1] += f" {words}"
        elif not lines or lines[-1] != words:  # live captions repeat the line before
            lines.append(f"{speaker}: {words}" if speaker else words)
        speaking = speaker
    if text.strip():
        yield document(file, "\n".join(lines), notes=notes)


def _cues(text: str) -> Iterator[tuple[str, str]]:
    """Speaker and words of each cue. A block without a time (header, note, style) is none."""
    for block in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n").replace("\r", "\n")):
        lines = block.strip().split("\n")
        at = next((i for i, line in enumerate(lines[:2]) if _CUE.fullmatch(line)), None)
        if at is None:
            continue
        speaker = ""
        for line in lines[at + 1 :]:
            if voice := _VOICE.search(line):
                speaker = voice[1].strip()
            words = _TAG.sub("", _VOICE.sub("", line))
            for entity, character in _ENTITIES.items():
                words = words.replace(entity, character)
            if words.strip():
                yield speaker, " ".join(words.split())
