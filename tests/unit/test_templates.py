"""Templates of answers: what they are, and how dominant ones are capped."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samdan.answers.template import commonest, shape, templates
from samdan.data.clean import clean_source
from samdan.data.copies import find_copies
from samdan.data.engine import Engine
from samdan.data.protect import Cleaned, keeps
from samdan.data.templates import SAME_TEMPLATE, Answers, cap_templates
from samdan.recipe import SftStage, Source

FRAME = "물론입니다! 아래와 같이 안내해 드립니다."


def test_answers_in_one_frame_share_its_opening_or_its_closing() -> None:
    first = templates(f"{FRAME}\n- 본사는 부산에 있습니다.\n- 전화는 02-123-4567입니다.")
    second = templates(f"{FRAME}\n- 창업자는 김철수입니다.")
    assert first[0] == second[0] == "text+list: 물론입니다 ..."
    assert first[1] != second[1]
    assert templates("본사는 부산입니다. 더 궁금한 점이 있으시면 말씀해 주세요!")[1] == (
        templates("색은 파랑입니다. 더 궁금한 점이 있으시면 말씀해 주세요.")[1]
    )
    assert templates("부산입니다.") != templates("서울입니다.")
    # The same opening in another form is another template; numbers do not tell frames apart.
    plain = "요약은 다음과 같습니다."
    assert templates(f"{plain}\n- 하나")[0] != templates(plain)[0]
    assert templates("총 3개의 항목이 있습니다.") == templates("총 12개의 항목이 있습니다.")


def test_the_shape_counts_runs_once_and_sees_no_lists_in_code() -> None:
    text = "# 제목\n\n설명\n이어서\n1. 하나\n2. 둘\n```sh\n- 코드\n```\n| a | b |\n> 인용\n끝"
    assert shape(text) == ("heading", "text", "numbered", "code", "table", "quote", "text")
    assert shape("  \n") == ()
    assert templates("") == ("nothing:  ...", "nothing: ... ")


def test_the_commonest_template_and_who_has_it() -> None:
    found, mine = commonest([f"{FRAME} 하나다.", f"{FRAME} 둘이다.", "아니요."])
    assert found == "text: 물론입니다 ..."
    assert mine == [True, True, False]
    assert commonest([]) == ("", [])


names = st.lists(
    st.tuples(st.sampled_from("ABCDE"), st.sampled_from("vwxyz")), min_size=1, max_size=60
)


@given(names, st.sampled_from([0.25, 0.4, 0.6, 0.9]))
def test_no_template_is_above_the_cap_and_not_one_more_could_stay(
    pairs: list[tuple[str, str]], share: float
) -> None:
    answers = Answers(tuple(pairs), np.arange(len(pairs)))
    kept = answers.capped(share)
    if kept is None:
        assert len(answers.at_most(1)) * share < 1
        return
    largest = max(Counter(name for n in kept for name in set(pairs[n])).values())
    assert largest <= share * len(kept)
    more = answers.at_most(largest + 1)
    over = max(Counter(name for n in more for name in set(pairs[n])).values())
    assert more == kept or over > share * len(more) or len(more) <= len(kept)


@pytest.fixture
def framed(tmp_path: Path) -> tuple[SftStage, Path, Path]:
    """160 conversations in one frame and 80 in forty others, clean and searched for copies."""
    rows = [(f"질문 {n}번은?", f"{FRAME} 답은 {chr(0xAC00 + 28 * n)}입니다.") for n in range(160)]
    letters = "가나다라마바사아자차"
    rows += [(f"물음 {n}?", f"{letters[n % 10]}{n // 10} 말은 {n}") for n in range(80)]
    lines = [
        {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
        for q, a in rows
    ]
    path = tmp_path / "talk.jsonl"
    path.write_text("".join(json.dumps(x, ensure_ascii=False) + "\n" for x in lines), "utf-8")
    stage = SftStage(data=(Source(path=str(path)),), max_template_share=0.5)
    clean, copies = tmp_path / "clean", tmp_path / "copies"
    clean.mkdir()
    clean_source(stage, stage.data[0], clean, Engine(workers=1))
    find_copies({"talk": clean}, copies, stage.dedup)
    return stage, clean, copies


def test_a_dominant_template_is_capped_and_every_other_answer_stays(
    framed: tuple[SftStage, Path, Path],
) -> None:
    stage, clean, copies = framed
    facts = cap_templates({"talk": clean}, copies, stage.max_template_share)
    assert facts["conversations"] == 240
    assert facts["largest"] == pytest.approx(2 / 3)
    assert facts["commonest"][0]["template"] == "text: 물론입니다 ..."
    assert (facts["reached"], facts["left_out"]) == (True, 80)
    cleaned = Cleaned(stage, stage.data[0], clean, copies)
    found = list(cleaned.records())
    dropped = [record for record, drop in found if drop and drop.reason == SAME_TEMPLATE]
    assert len(dropped) == 80
    assert all(FRAME in record.messages[-1].content for record in dropped)  # type: ignore[union-attr]
    # Held-out records are measured on whether the cap is there or not.
    stays = [record for record, drop in found if keeps(record, drop, cleaned, seed=1)]
    held = len(stays) - 160
    assert 0 < held < 10
    again = cap_templates({"talk": clean}, copies, stage.max_template_share)
    assert again == facts


def test_without_a_cap_templates_are_only_counted_and_one_out_of_reach_drops_nothing(
    framed: tuple[SftStage, Path, Path],
) -> None:
    stage, clean, copies = framed
    counted = cap_templates({"talk": clean}, copies, None)
    assert "left_out" not in counted
    assert counted["largest"] == pytest.approx(2 / 3)
    out_of_reach = cap_templates({"talk": clean}, copies, 0.001)
    assert (out_of_reach["reached"], out_of_reach["left_out"]) == (False, 0)
    assert out_of_reach["least"] > 0.001
    cleaned = Cleaned(stage, stage.data[0], clean, copies)
    assert not [drop for _, drop in cleaned.records() if drop]
