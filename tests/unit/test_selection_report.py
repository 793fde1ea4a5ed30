"""The report adds up, holds plain JSON, and shows both sides of every line."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from samdan.data.selection import report as reporting
from samdan.data.selection.markdown import rendered
from samdan.data.selection.pipeline import Selected, select_documents
from samdan.data.selection.report import selection_report
from samdan.data.selection.tools import Tools
from samdan.data.selection.topics import spherical_k_means, topics_of
from samdan.records import Document, Origin
from samdan.selecting import Eta, Random, Recency, Select

SHOP, SEA = ("시장", "가게", "손님", "물건", "계산"), ("바다", "파도", "갈매기", "모래", "등대")


def text(rng: random.Random, words: Sequence[str]) -> str:
    return " ".join(rng.choice(words) for _ in range(12)) + f" {rng.randrange(10**6)}"


@pytest.fixture
def corpus() -> list[Document]:
    rng = random.Random(2)
    made = []
    for number in range(60):
        words, source = ((SHOP, "shop"), (SEA, "sea"))[number % 2]
        day = date(2020, 1, 1) + timedelta(days=30 * number)
        meta = {"source": source} | ({"date": str(day)} if number % 10 else {})
        made.append(Document(text(rng, words), Origin("c.jsonl", number + 1), meta))
    return made


def select(
    spec: Select, corpus: Sequence[Document], tools: Tools | None = None
) -> Selected:
    def count_tokens(texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    return select_documents(spec, lambda: corpus, count_tokens, tools or Tools(), 0)


def report_of(selected: Selected, corpus: Sequence[Document]) -> dict[str, Any]:
    return selection_report(selected, lambda places: [corpus[place] for place in places], samples=3)


RECENT = Recency(share=0.25, half_life_days=100, not_before=date(2020, 6, 1), sampling="hard")


def test_counts_add_up_in_every_table(corpus: list[Document]) -> None:
    selected = select(RECENT, corpus)
    made = report_of(selected, corpus)
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    assert made["before"] == {"documents": 60, "tokens": int(selected.tokens.sum())}
    assert made["after"]["tokens"] == selected.chosen.tokens
    left_out = sum(size["documents"] for size in made["left_out"].values())
    assert left_out + made["after"]["documents"] == 60
    assert made["left_out"]["undated"]["documents"] == 6
    for table in ("by_source", "by_year", "by_length"):
        for side in ("before", "after"):
            for unit in ("documents", "tokens"):
                assert sum(r[f"{unit}_{side}"] for r in made[table]) == made[side][unit]
    assert [row["name"] for row in made["by_source"]] == ["sea", "shop"]
    years = [row["name"] for row in made["by_year"]]
    assert years == ["2020", "2021", "2022", "2023", "2024", "undated"]
    assert [row["name"] for row in made["by_length"]] == ["8-15"]


def test_samples_stand_on_both_sides_of_every_line(corpus: list[Document]) -> None:
    selected = select(RECENT, corpus)
    lines = {line["name"]: line for line in report_of(selected, corpus)["thresholds"]}
    assert set(lines) == {"not_before", "budget"}
    for name in ("not_before", "budget"):
        kept, out = lines[name]["just_kept"], lines[name]["just_left_out"]
        assert len(kept) == len(out) == 3
        assert min(s["value"] for s in kept) >= lines[name]["limit"]
        assert max(s["value"] for s in out) < lines[name]["limit"]
    nearest = lines["budget"]["just_kept"][0]
    assert nearest["value"] == lines["budget"]["limit"] == nearest["score"]
    place = int(nearest["origin"].partition(":")[2]) - 1
    assert selected.chosen.mask[place]
    assert nearest["excerpt"] == corpus[place].text


def test_infinities_are_left_out(corpus: list[Document]) -> None:
    tools = Tools(log_probs=lambda texts: (
        np.full(len(texts), 1e9), np.ones(len(texts))
    ))  # fmt: skip
    spec = Eta(use=("ppl",), surrogate={"path": "m"}, share=0.5, min_tokens=1, sampling="soft")
    made = report_of(select(spec, corpus, tools), corpus)
    json.dumps(made, allow_nan=False)


def test_topics_are_named_and_their_shares_followed(corpus: list[Document]) -> None:
    spec = Random(share=0.5, quota={"at_most": 1.0})
    made = report_of(select(spec, corpus), corpus)
    assert made["topics"]["sampled"] == 60
    for side in ("share_before", "share_after"):
        assert sum(c[side] for c in made["topics"]["clusters"]) == pytest.approx(1)
    for cluster in made["topics"]["clusters"]:
        assert set(cluster["terms"]) <= set(SHOP) or set(cluster["terms"]) <= set(SEA)


def test_topics_of_a_sample_stand_for_the_whole(
    corpus: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "SAMPLED", 12)
    made = report_of(select(Random(share=0.5), corpus), corpus)["topics"]
    assert made["sampled"] == 24
    assert sum(c["share_before"] for c in made["clusters"]) == pytest.approx(1)


def test_clusters_do_not_depend_on_anything_but_texts_and_seed() -> None:
    rng = random.Random(0)
    texts = [text(rng, SHOP if i % 2 else SEA) for i in range(40)]
    labels = topics_of(texts, None, 0).labels
    np.testing.assert_array_equal(labels, topics_of(texts, None, 0).labels)
    by_theme = {frozenset(labels[side::2].tolist()) for side in (0, 1)}
    assert len(by_theme) == 2
    assert not frozenset.intersection(*by_theme)


def test_equal_vectors_make_one_cluster() -> None:
    labels = spherical_k_means(np.ones((5, 2)) / 2**0.5, 3, 0)
    assert len(set(labels.tolist())) == 1


def test_many_sources_are_summed_up(corpus: list[Document]) -> None:
    many = [Document(d.text, Origin(f"{i:03}.md")) for i, d in enumerate(corpus)]
    made = report_of(select(Random(share=0.5), many), many)
    assert len(made["by_source"]) == reporting.GROUPS + 1
    assert made["by_source"][-1]["name"] == "20 others"
    assert sum(row["documents_before"] for row in made["by_source"]) == 60


def test_markdown_shows_it_and_a_text_cannot_break_it(corpus: list[Document]) -> None:
    bad = "| a | b |\n# head <script>alert(1)</script> `code`"
    corpus = [*corpus, Document(bad, Origin("x|y.md"), {"date": "2025-01-01", "source": "a|b\nc"})]
    made = report_of(select(RECENT, corpus), corpus)
    shown = rendered(made)
    assert shown.startswith("# Selection by `recency`\n")
    assert "\n## At the line `budget`" in shown
    assert "<script>" not in shown
    assert "\n# head" not in shown
    tables = [line for line in shown.splitlines() if line.startswith("| ")]
    widths = [line.replace("\\|", "").count("|") for line in tables]
    assert set(widths) == {4, 7, 10}
    assert "a\\|b c" in shown
