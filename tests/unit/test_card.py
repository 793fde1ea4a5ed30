"""The data card says what each source is made of, and its records add up."""

from __future__ import annotations

from typing import Any

from samdan.report import data_card, render

FACTS: dict[str, Any] = {
    "role": "target",
    "records_in": 1100,
    "trained": 1080,
    "heldout": 5,
    "tokens": 9000,
    "dropped": {"length": 5, "duplicate": 10},
    "lengths": {"64": 50, "128": 30, "8": 1000},
    "license": {"MIT": 90, "unknown": 10},
    "script": {"hangul": 900, "latin": 100, "other": 0},
    "year": {"unknown": 100},
}


def test_the_card_lists_what_there_is_and_leaves_out_what_is_unknown() -> None:
    lines = data_card("hanbit", "cpt", {"docs": FACTS}).splitlines()
    assert lines[0] == "# Data of hanbit, stage cpt"
    assert "| docs | target | 1,100 | 1,080 | 5 | 9,000 | 15 |" in lines
    assert "the records that passed the filters" in "\n".join(lines)
    assert "- Dropped, by rule: duplicate 10, length 5" in lines
    assert "- Licences: MIT 90, unknown 10" in lines
    assert "- Letters, by script: hangul 90.0%, latin 10.0%" in lines
    assert "- Lengths in tokens: 8+ 1,000, 64+ 50, 128+ 30" in lines
    assert not [line for line in lines if "Years" in line]


def test_long_lists_are_added_up() -> None:
    years = {str(year): 2 for year in range(1988, 2005)} | {"unknown": 1}
    licences = {f"licence {n}": 10 - n for n in range(9)}
    card = data_card("a", "cpt", {"docs": FACTS | {"year": years, "license": licences}})
    assert "- Years: 1980s 4, 1990s 20, 2000s 10, unknown 1" in card
    assert "licence 5 5, other 9" in card


def test_the_report_shows_the_card_with_its_names_escaped() -> None:
    stage = {"name": "cpt", "kind": "cpt", "tokens": {"by_source": {"docs": {"in": 1}}},
             "data": {"docs": FACTS | {"license": {"<script>": 1}}}}  # fmt: skip
    page = render({"stages": [stage]})
    assert "Data card" in page
    assert "&lt;script&gt; 1" in page
    assert "<script> 1" not in page


def test_what_data_say_is_no_markdown() -> None:
    hostile = {
        "[click](javascript:alert(1))": 1,
        "![x](//evil.example/a.png)": 2,
        "<img src=x onerror=alert(1)>": 3,
        "a | b": 4,
        "\u202egnp.exe\x1b[2J": 5,
        "https://evil.example www.evil.example a@evil.example": 6,
    }
    card = data_card("a", "cpt", {"docs](x)|": FACTS | {"license": hostile}})
    for found in ("[click](", "![x](", "<img", "a | b", "\u202e", "\x1b", "://", "www.", "a@"):
        assert found not in card
    rows = [line for line in card.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {8}
