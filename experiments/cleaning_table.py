"""Prints what cleaning and redaction do to texts, as Markdown: counts, speed, repairs, recall.

python -m experiments.cleaning_table corpus/*.jsonl.gz [--seed 12] [--show address]

Files are JSON lines with a column ``text``. Recall is of made-up numbers, planted in sentences of
the files, in formats that the rules know. ``--show KIND`` prints every finding of a kind for
reading, which is how precision is judged.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from samdan.cleaning import Cleaning
from samdan.data.cleaning import Cleaner
from samdan.data.numbers import CARD_ISSUERS, luhn
from samdan.data.personal import find

ITEMS = 1000  # planted, of each kind
LINES = 6000  # broken on purpose
DIGITS, LOWER = "0123456789", "abcdefghijklmnopqrstuvwxyz"
LETTERS = LOWER + LOWER.upper() + DIGITS
PARTICLES = ("", "은", "이고", "로", "을 ", "에서", "입니다. ", ", ", ")", "이며 ")
T = TypeVar("T")
REGIONS = ("서울 강남구", "경기도 성남시 분당구", "부산 해운대구", "제주시", "충북 청주시 흥덕구")
STREETS = ("테헤란로", "중앙로", "월드컵북로", "판교역로", "해운대로")
LOTS = ("서울 강남구 역삼동", "대구 수성구 범어동", "전남 무안군 삼향읍 남악리")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--seed", type=int, default=12)
    parser.add_argument("--show", default="")
    options = parser.parse_args()
    clean, korean = Cleaner(Cleaning()), []
    print("| file | docs | changed | what | MB/s | again | redacting | found |")
    print("|---" * 8 + "|")
    for path in options.files:
        with gzip.open(path, "rt", encoding="utf-8") as rows:
            texts = [json.loads(row)["text"] for row in rows]
        cleaned = _row(path, texts, clean)
        lines = [line.strip() for text in cleaned for line in text.split("\n")]
        korean += [line for line in lines if sum("가" <= char <= "힣" for char in line) >= 5]
        for text in cleaned if options.show else ():
            _show(text, options.show)
    chance = random.Random(options.seed)
    _repairs(chance.sample(korean, min(LINES, len(korean))), clean)
    _recall([line for line in korean if 40 < len(line) < 300 and not find(line)], chance)


def _row(path: Path, texts: list[str], clean: Cleaner) -> list[str]:
    size = sum(len(text.encode()) for text in texts)
    first, results = _timed(clean, texts)
    cleaned = [result.text for result in results]
    again, _ = _timed(clean, cleaned)
    redacting, found = _timed(find, cleaned)
    changes: Counter[str] = Counter()
    for result in results:
        changes.update(result.counts)
    kinds = Counter(item.kind for items in found for item in items)
    changed = sum(a != b for a, b in zip(texts, cleaned, strict=True))
    what = ", ".join(f"{name} {n:,}" for name, n in changes.most_common())
    speeds = " | ".join(f"{size / seconds / 1e6:.1f}" for seconds in (first, again, redacting))
    print(f"| {path.name} | {len(texts):,} | {changed:,} | {what} | {speeds} | {dict(kinds)} |")
    return cleaned


def _timed(work: Callable[[str], T], texts: Iterable[str]) -> tuple[float, list[T]]:
    start = time.process_time()
    results = [work(text) for text in texts]
    return time.process_time() - start, results


def _show(text: str, kind: str) -> None:
    for item in find(text):
        if item.kind == kind:
            parts = (text[: item.start][-30:], text[item.start : item.end], text[item.end :][:20])
            print("{}⟦{}⟧{}".format(*(part.replace("\n", "⏎") for part in parts)))


def _repairs(lines: list[str], clean: Cleaner) -> None:
    print("\n| broken by | lines | restored | left as they are |\n|---|---|---|---|")
    for encoding, times in (("utf-8", 1), ("utf-8", 2), ("cp949", 1)):
        outcomes: Counter[str] = Counter()
        for line in lines:
            broken = line
            try:
                for _ in range(times):
                    broken = broken.encode(encoding).decode("latin-1")
            except UnicodeEncodeError:  # CP949 has no such character
                continue
            result = clean(broken).text
            # The line alone may be furniture as well: what counts is the same end.
            same = result == clean(line).text
            outcomes["restored" if same else "left" if result == broken else "other"] += 1
        total = outcomes.total()
        print(f"| {encoding} x {times} | {total} | {outcomes['restored']} | {outcomes['left']} |")


def _recall(lines: list[str], chance: random.Random) -> None:
    print("\n| kind | planted | masked whole | of the kind |\n|---|---|---|---|")
    for kind, make in _makers(chance).items():
        whole = right = 0
        for _ in range(ITEMS):
            before, value = make()
            line = chance.choice(lines)
            at = chance.choice([i for i, char in enumerate(line) if char == " "] or [0]) + 1
            start = at + len(before)
            rest = chance.choice(PARTICLES) + " " + line[at:]
            found = find(line[:at] + before + value + rest)
            hits = [f for f in found if f.start < start + len(value) and f.end > start]
            whole += any(f.start <= start and f.end >= start + len(value) for f in hits)
            right += any(f.kind == kind for f in hits)
        print(f"| {kind} | {ITEMS} | {whole} | {right} |")


def _makers(chance: random.Random) -> dict[str, Callable[[], tuple[str, str]]]:
    """For each kind: words that may be needed before it, and a made-up value."""

    def some(n: int, of: str = DIGITS) -> str:
        return "".join(chance.choice(of) for _ in range(n))

    def one(*of: tuple[str, str]) -> tuple[str, str]:
        return chance.choice(of)

    def number(low: int, high: int) -> str:
        return f"{chance.randint(low, high):02}"

    def day() -> str:
        return number(40, 99) + number(1, 12) + number(1, 28)

    def card() -> tuple[str, str]:
        while True:
            digits = chance.choice(("4", "51", "55", "9", "62", "3562", "6011"))
            digits += some(16 - len(digits))
            if luhn(digits) and CARD_ISSUERS.fullmatch(digits):
                groups = [digits[i : i + 4] for i in range(0, 16, 4)]
                return "", chance.choice(("-", " ", "")).join(groups)

    def street() -> str:
        place = f"{chance.choice(REGIONS)} {chance.choice(STREETS)} {number(1, 400)}"
        return place + chance.choice(("", f"-{number(1, 40)}", f", {number(101, 120)}동 1203호"))

    area = ("31", "32", "42", "51", "53", "62", "64")
    return {
        "resident_number": lambda: one(
            ("", f"{day()}-{some(1, '12')}{some(6)}"),
            ("주민등록번호 ", f"{day()}{some(1, '12')}{some(6)}"),
        ),
        "foreigner_number": lambda: ("", f"{day()}-{some(1, '56')}{some(6)}"),
        "phone": lambda: one(
            ("", f"010-{some(4)}-{some(4)}"),
            ("", f"010{some(8)}"),
            ("", f"02-{number(20, 99)}{some(1)}-{some(4)}"),
            ("", f"0{chance.choice(area)}-{number(20, 99)}{some(1)}-{some(4)}"),
            ("", f"070-{number(20, 99)}{some(2)}-{some(4)}"),
            ("", f"+82-10-{some(4)}-{some(4)}"),
            ("", f"1588-{number(2100, 9999)}"),
            ("전화 ", f"{number(20, 99)}{some(1)}-{some(4)}"),
        ),
        "account": lambda: one(
            ("국민은행 ", f"{some(6)}-{some(2)}-{some(6)}"),
            ("계좌번호: ", f"110-{some(3)}-{some(6)}"),
            ("입금 계좌는 ", f"1{some(12)}"),
        ),
        "card": card,
        "driver_license": lambda: ("", f"{number(11, 26)}-{some(2)}-{some(6)}-{some(2)}"),
        "passport": lambda: one(
            ("여권번호 ", f"M{some(8)}"), ("여권 ", f"M{some(3)}{some(1, 'ABCDEFG')}{some(4)}")
        ),
        "email": lambda: ("", f"{some(8, LOWER)}@{chance.choice(('naver.com', 'mail.go.kr'))}"),
        "ip": lambda: (
            chance.choice(("IP ", "서버 ", "접속 주소 ")),
            f"{chance.choice((211, 175, 58, 121, 1))}.{number(11, 250)}.7.{number(10, 254)}",
        ),
        "address": lambda: one(
            ("", street()), ("", f"{chance.choice(LOTS)} {number(1, 900)}-{number(1, 99)}")
        ),
        "api_key": lambda: one(
            ("", "ghp" + f"_{some(36, LETTERS)}"),
            ("", "hf" + f"_{some(34, LETTERS)}"),
            ("", "sk" + f"-{some(48, LETTERS)}"),
            ("client_secret=", f"{some(20, LETTERS)}7a"),
        ),
        "password": lambda: one(
            ("password=", f"{some(8, LETTERS)}1!"), ("비밀번호: ", f"{some(7, LETTERS)}9#")
        ),
    }


if __name__ == "__main__":
    main()
