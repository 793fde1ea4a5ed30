"""The report: nothing in the data becomes markup, nothing is hidden, half a run is enough."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import string
import textwrap
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any

import pytest

from reported import metric, sample, stage, with_strings
from samdan.report import charts, numbers, reading, render, style, summary, words

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</script></style></textarea><svg onload=alert(1)>",
    "' onmouseover='alert(1)",
    "{name} {0} %s $x",
    "\x1b[31mred\x1b[0m\x1b]8;;http://evil.example\x07link",
    "abc\u202edcba\u2066x\u2069",
    "line\nstatus: done\r\tnull\x00",
    "\ud800 lone, \u200bzero, \U000e0041tag",
    "javascript:alert(1)",
)
VOID = {"meta", "link", "br", "input"}


@pytest.fixture
def report() -> dict[str, Any]:
    return sample()


class Page(HTMLParser):
    """Elements with their attribute names in order, and whether every one is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.script = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "wbr":  # where a long name may break
            assert attrs == []
            return
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.script += data


def numbered(pattern: str) -> Callable[[], str]:
    count = iter(range(10**6))
    return lambda: pattern.replace("#", f"{next(count):04d}")


@pytest.mark.parametrize("payload", HOSTILE)
def test_no_element_or_attribute_comes_from_data(report: dict[str, Any], payload: str) -> None:
    harmless = Page(render(with_strings(report, numbered("name#"))))
    attacked = render(with_strings(report, numbered(payload + "#")))
    found = Page(attacked)
    assert found.elements == harmless.elements
    assert found.script == harmless.script
    attacked.encode("utf-8")
    for name, value in found.attributes:
        assert not name.startswith("on")
        assert name not in {"src", "srcdoc", "action", "style"}
        if name == "href":
            assert value.startswith("#") or value == "data:,"


def test_control_characters_are_shown_and_not_sent(report: dict[str, Any]) -> None:
    report["samples"][0]["prompt"] = "a\x1b[31mb\u202ec\x00\ud800\r\nd"
    for shown in (render(report), summary(with_strings(report, numbered("\x1b[2J\u202e\n#")))):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
    page = render(report)
    assert "a\u241b[31mb\u27e8U+202E\u27e9c\u2400\u27e8U+D800\u27e9\nd" in page


def test_a_name_cannot_forge_a_line_of_the_summary(report: dict[str, Any]) -> None:
    report["stages"][0]["metrics"] = {"x\n  + qa/exact": metric(1, 1, 2, 0.1, higher=True)}
    assert "  + x\u240a  + qa/exact  1.000 -> 2.000" in summary(report)


def test_nothing_outside_the_page_is_named_or_loaded(report: dict[str, Any]) -> None:
    page = render(report)
    assert "http" not in page.replace("http-equiv", "")
    assert "url(" not in page
    assert "@import" not in page


def test_the_policy_allows_the_one_script_and_nothing_else(report: dict[str, Any]) -> None:
    page = Page(render(report))
    digest = base64.b64encode(hashlib.sha256(page.script.encode()).digest()).decode()
    policy = next(value for name, value in page.attributes if "default-src" in value)
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in policy
    assert [element for element, _ in page.elements].count("script") == 1


def test_both_languages_are_in_the_page(report: dict[str, Any]) -> None:
    page = render(report)
    assert page.startswith('<!DOCTYPE html>\n<html lang="en" data-auto>')
    assert "Before and after" in page
    assert "전후 비교" in page
    assert '<html lang="ko">' in render(report, "ko")


@pytest.mark.parametrize("key", sorted(words.WORDS))
def test_both_languages_fill_in_the_same_values(key: str) -> None:
    fields = [
        {field for _, field, _, _ in string.Formatter().parse(text) if field}
        for text in words.WORDS[key]
    ]
    assert fields[0] == fields[1]


def test_lengths_of_answers_are_shown_as_a_distribution(report: dict[str, Any]) -> None:
    page = re.sub(r"<[^>]+>", "|", render(report))
    assert "2 \u2013 80 \u2013 1,256" in page
    assert "4 \u2013 12 \u2013 31" in page
    assert "90% of them do not exceed" in page


def test_a_run_that_has_just_begun_renders() -> None:
    report = {"samdan": 1, "name": "demo", "status": "running", "wall_seconds": 0.0, "stages": []}
    Page(render(report))
    assert summary(report) == "demo: running, 0.0 s\nNot finished.\n  0 of 0 stages are done.\n"
    report["stages"] = [{"name": "cpt", "kind": "cpt", "status": "running"}]
    assert "no result yet" in render(report)


def paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the values of a report are; of a list, the first stands for all."""
    inner = value.items() if isinstance(value, dict) else enumerate(value[:1])
    for key, one in inner:
        yield (*at, key)
        if isinstance(one, dict | list):
            yield from paths(one, (*at, key))


@pytest.mark.parametrize("wrong", ["null", "{}", '"text"', "-1"])
def test_any_value_may_be_missing_or_odd(report: dict[str, Any], wrong: str) -> None:
    first = report["stages"][0]
    report["stages"] = [first]
    first["metrics"] = dict(list(first["metrics"].items())[:1])
    del first["tokens"]["by_source"]["general-en"]
    whole = json.dumps(report)
    for path in paths(report):
        broken = json.loads(whole)
        inside = broken
        for key in path[:-1]:
            inside = inside[key]
        inside[path[-1]] = json.loads(wrong)
        assert render(broken)
        assert summary(broken)


def test_not_a_number_is_a_dash_and_a_marker_never_zero(report: dict[str, Any]) -> None:
    first = report["stages"][0]
    first["metrics"]["handbook/bpb"]["after"] = None
    first["metrics"]["copa/accuracy"]["after"] = float("nan")
    first["curve"]["loss"] = [3.0, None, math.inf, 2.0]
    page = render(report)
    assert "nan" not in summary(report)
    assert "2 non-finite values, first at step 2" in page
    assert 'class="nan"' in page
    drawn = charts.curve("loss", [(1, 3.0), (2, None), (3, None), (4, 2.0)], smooth=False)
    line = re.search(r'd="([^"]*)" class="smooth"', drawn)
    assert line
    assert line[1].count("M") == 2, "the line is broken where a value was not finite"


def test_a_long_run_is_a_small_page(report: dict[str, Any]) -> None:
    steps = list(range(1, 20_001))
    wave = [3 + math.sin(step) / 3 + 100 / step for step in steps]
    keys = ("loss", "lr", "grad_norm", "tokens_per_second")
    for one in report["stages"]:
        one["curve"] = {"step": steps, **dict.fromkeys(keys, wave)}
        one["curve"]["loss"] = [None if step % 7 == 0 else y for step, y in enumerate(wave)]
        one["heldout_curve"] = {"a/bpb": {"step": steps, "value": wave}}
    assert len(render(report).encode()) < 500_000


def test_thinning_keeps_the_ends_and_the_extremes() -> None:
    points = [(float(x), math.sin(x / 50)) for x in range(20_000)]
    points[777] = (777.0, 99.0)
    points[12_345] = (12_345.0, -99.0)
    kept = charts.thinned(points)
    assert len(kept) <= charts.MOST_POINTS
    assert kept == sorted(kept)
    assert {points[0], points[-1], points[777], points[12_345]} <= set(kept)


@pytest.mark.parametrize(
    ("after", "half", "higher", "direction"),
    [
        (1.2, 0.1, True, "better"),
        (1.2, 0.1, False, "worse"),
        (0.8, 0.1, False, "better"),
        (0.8, 0.1, True, "worse"),
        (1.2, 0.2, True, "unclear"),
        (1.2, 0.3, False, "unclear"),
    ],
)
def test_a_change_counts_only_if_its_interval_excludes_zero(
    after: float, half: float, higher: bool, direction: str
) -> None:
    found = reading.change("a/b", metric(1.0, 1.0, after, half, higher), "before")
    assert found.direction == direction


def test_without_an_interval_or_a_direction_nothing_is_claimed() -> None:
    bare = {"before": 1.0, "after": 2.0, "higher_is_better": True}
    assert reading.change("a/b", bare, "before").direction == "unknown"
    aimless = metric(1.0, 1.0, 2.0, 0.1, higher=True) | {"higher_is_better": None}
    assert reading.change("a/b", aimless, "before").direction == "unknown"


def test_the_strongest_change_is_certain_before_it_is_large(report: dict[str, Any]) -> None:
    report["stages"][0]["metrics"]["qa/exact"] = metric(0.01, 0.01, 0.05, 0.039, higher=True)
    best = reading.strongest(reading.changes(report["stages"][0]), "better")
    assert best[0].metric == "handbook/bpb"


def test_perplexity_is_not_told_beside_its_bits_per_byte(report: dict[str, Any]) -> None:
    metrics = report["stages"][0]["metrics"]
    metrics["handbook/perplexity"] = metric(400, 400, 100, 10, higher=False)
    assert "handbook/perplexity" not in summary(report)
    assert "handbook/perplexity" in render(report)
    del metrics["handbook/bpb"]
    assert "+ handbook/perplexity" in summary(report)


def test_the_bases_own_training_is_the_ground_and_not_a_tier(report: dict[str, Any]) -> None:
    pretraining = stage("base", kind="cpt", gate="none", gates=[], status="running")
    report["stages"].insert(0, pretraining)
    assert [one["name"] for one in reading.risen(report)] == ["cpt", "sft", "dpo"]
    assert 'class="stair n3"' in render(report)


def test_a_gate_listed_among_the_rules_is_not_a_monitor(report: dict[str, Any]) -> None:
    one = report["stages"][0]
    before = [len(reading.verdicts(one, kind)) for kind in ("rules", "gates")]
    one["rules"] += one["gates"]
    assert [len(reading.verdicts(one, kind)) for kind in ("rules", "gates")] == before


def test_hundreds_of_empty_lines_are_counted_and_not_shown(report: dict[str, Any]) -> None:
    report["samples"][0]["answers"]["base"] = "a" + "\n" * 200 + "b\n\nc"
    assert "a \u23ce\u00d7200\nb\n\nc</dd>" in render(report)


def test_tokens_that_do_not_add_up_are_said_aloud(report: dict[str, Any]) -> None:
    assert "do not add up" not in summary(report)
    assert 'role="alert"' not in render(report)
    report["stages"][0]["tokens"]["by_source"]["handbook"]["trained"] -= 7
    assert "! tokens do not add up: cpt/handbook" in summary(report)
    page = render(report)
    assert "off by +7" in page
    assert 'role="alert"' in page
    assert "Token accounts do not add up in cpt/handbook." in page


def test_the_verdict(report: dict[str, Any]) -> None:
    assert reading.overall(report).title == "verdict.care", "general-en is worse than the base"
    del report["stages"][0]["metrics"]["general-en/bpb"]
    assert reading.overall(report).title == "verdict.good"
    report["stages"][2]["status"] = "running"
    assert reading.overall(report).title == "verdict.open"
    report["stages"][1]["gate"] = "failed"
    assert reading.overall(report).title == "verdict.bad"
    for one in report["stages"]:
        one.update(status="done", gate="none", gates=[])
    assert reading.overall(report).title == "verdict.unproven"


def test_numbers_speak_the_language() -> None:
    assert numbers.amount(1_234_567) == ("1.23M", "123만")
    assert numbers.amount(7_610_000_000) == ("7.61B", "76.1억")
    assert numbers.amount(9_999) == ("9,999", "9,999")
    assert numbers.duration(3725) == ("1 h 02 min", "1시간 02분")
    assert numbers.plain(1e-5) == "1e-5"


def colours(theme: str) -> dict[str, tuple[float, ...]]:
    found = re.findall(r"--([\w-]+):#([0-9a-f]{3,6})\b", theme)
    wide = {name: code if len(code) == 6 else "".join(c * 2 for c in code) for name, code in found}
    return {
        name: tuple(int(code[i : i + 2], 16) / 255 for i in (0, 2, 4))
        for name, code in wide.items()
    }


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    def light(colour: tuple[float, ...]) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [style.LIGHT, style.DARK], ids=["light", "dark"])
def test_text_has_the_contrast_that_wcag_asks_for(theme: str) -> None:
    found = colours(theme)
    pairs = [(name, ground) for name in ("ink", "soft") for ground in ("bg", "card", "quiet")]
    for name in ("good", "bad", "care", "open"):
        pairs += [(name, "card"), (name, f"{name}-bg"), ("ink", f"{name}-bg")]
    pairs += [(name, "card") for name in ("cpt", "sft", "dpo", "other")]
    low = {pair: contrast(found[pair[0]], found[pair[1]]) for pair in pairs}
    assert {pair: value for pair, value in low.items() if value < 4.5} == {}


def test_the_summary(report: dict[str, Any]) -> None:
    assert summary(report) == textwrap.dedent(
        """\
        demo: done, 5 min 12 s
        Ship with care.
          Gates judged: 2, all passed.
          Clearly worse than the base: general-en/bpb (+0.022).

        cpt  done  gates 1/1  1 min 20 s  2,395 tokens  9,000 tokens/s  2 attempts
          + handbook/bpb    1.842 -> 1.317  -0.525  [-0.546, -0.504]
          + 한국어/bpb      1.214 -> 1.187  -0.027  [-0.039, -0.015]
          - general-en/bpb  0.982 -> 1.004  +0.022  [+0.014, +0.030]
          ~ 1 without a clear change
          ! fired: loss_spike: the last 4 losses are too high

        sft  done  gates 1/1  1 h 02 min  1.23M tokens  9,000 tokens/s
          + qa/exact  0.110 -> 0.710  +0.600  [+0.530, +0.670]

        dpo  done  1 min 20 s  9,000 tokens/s
        """
    )
