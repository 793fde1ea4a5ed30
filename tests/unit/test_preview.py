"""The preview shows what is kept, dropped and masked, and where each answer of a pair begins."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tiny
from samdan.lm.chat import ChatFormat
from samdan.recipe import Recipe, parse
from samdan.run import preview
from samdan.run.loading import load_recipe

HEAD = "samdan: 1\nname: small\nbase: {path: nowhere}\nstages:\n"
LONG = "한빛전자의 사내 규정은 다음과 같다. " * 3


def recipe_over(
    folder: Path, rows: Sequence[Mapping[str, Any]], stage: str, source: str = ""
) -> Recipe:
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "rows.jsonl").write_text("".join(lines), "utf-8")
    data = f"{{path: rows.jsonl, name: docs{source}}}"
    (folder / "recipe.yaml").write_text(f"{HEAD}  - {{name: {stage}, data: [{data}]}}\n", "utf-8")
    return load_recipe(folder / "recipe.yaml")


def lines_of(recipe: Recipe, chat: ChatFormat | None = None, samples: int = 2) -> list[str]:
    return list(preview.shown(recipe, chat, samples, None))


def test_what_is_kept_and_dropped_is_counted_and_shown(tmp_path: Path) -> None:
    rows = [{"text": f"{LONG}{n}"} for n in range(9)] + [{"text": "짧다"}]
    recipe = recipe_over(tmp_path, rows, "cpt", ", filters: [{kind: length, min_chars: 20}]")
    lines = lines_of(recipe)
    assert "== stages.cpt.data.docs: 9 of 10 rows kept" in lines
    assert "   dropped  length 1" in lines
    assert sum(line.startswith("-- kept: ") for line in lines) == 2
    dropped = next(n for n, line in enumerate(lines) if line.startswith("-- dropped: length "))
    assert lines[dropped].endswith("rows.jsonl:10")
    assert lines[dropped + 1] == "  | 짧다"


def test_only_the_first_rows_are_read(tmp_path: Path) -> None:
    rows = [{"text": f"{LONG}{n}"} for n in range(preview.LOOKED_AT + 5)]
    lines = lines_of(recipe_over(tmp_path, rows, "cpt"))
    assert f"== stages.cpt.data.docs: 500 of the first {preview.LOOKED_AT} rows kept" in lines


def test_samples_are_spread_and_half_of_them_have_masks(tmp_path: Path) -> None:
    called = "문의는 010-1234-5678로 한다. "
    rows = [{"text": f"{LONG}{called if n == 17 else ''}{n}"} for n in range(40)]
    lines = lines_of(recipe_over(tmp_path, rows, "cpt"))
    kept = [line.rsplit(":", 1)[1] for line in lines if line.startswith("-- kept: ")]
    assert kept == ["18", "21"]  # the masked one, and one from the middle of the others
    assert "   masked   phone 1" in lines
    shown = [line for line in lines if line.startswith("  masked: ")]
    assert shown == [f"  masked: … {LONG.split(maxsplit=0)[0][-36:]}문의는 ⟨전화번호⟩로 한다. 17 …"]
    assert not any("1234" in line for line in lines)


def test_many_masks_of_one_record_are_counted(tmp_path: Path) -> None:
    text = LONG + " ".join(f"kim{n}@hanbit.co.kr" for n in range(5))
    lines = lines_of(recipe_over(tmp_path, [{"text": text}], "cpt"))
    assert sum(line.startswith("  masked: … ") for line in lines) == preview.MASKS
    assert "  masked: 2 more" in lines


def test_a_long_document_is_cut_and_says_by_how_much(tmp_path: Path) -> None:
    text = "한빛" * 200 + "가" * 1000
    recipe = recipe_over(tmp_path, [{"text": text}], "cpt", ", clean: null")
    assert any(line.endswith(" … (1,100 more characters)") for line in lines_of(recipe))


def test_what_is_dropped_is_shown_masked_or_not_at_all(tmp_path: Path) -> None:
    rows = [{"text": "전화 010-1234-5678"}, {"text": LONG + "kim@hanbit.co.kr"}]
    said = ", filters: [{kind: length, min_chars: 20}], personal: {drop: [email]}"
    lines = lines_of(recipe_over(tmp_path, rows, "cpt", said))
    assert "  | 전화 ⟨전화번호⟩" in lines
    assert any(line.startswith("-- dropped: personal_data email: ") for line in lines)
    assert "   dropped  length 1, personal_data 1" in lines
    assert not any("1234" in line or "kim@" in line for line in lines)


def test_a_bad_row_is_shown_by_its_reason(tmp_path: Path) -> None:
    rows = [{"prompt": "질문", "completion": "답"}, {"prompt": "질문", "completion": ""}]
    lines = lines_of(recipe_over(tmp_path, rows, "sft"))
    assert [line for line in lines if line.startswith("-- dropped: ")]
    assert "  user:" in lines
    assert "  assistant:" in lines


PAIR = {"prompt": "휴가는 며칠인가요?", "chosen": "열다섯 날입니다.", "rejected": "몰라."}


def test_the_answers_of_a_pair_are_told_apart(tmp_path: Path) -> None:
    lines = lines_of(recipe_over(tmp_path, [PAIR], "dpo"))
    start = lines.index("  prompt, user:")
    assert lines[start : start + 6] == [
        "  prompt, user:", "  | 휴가는 며칠인가요?", "  chosen:", "  | 열다섯 날입니다.",
        "  rejected:", "  | 몰라.",
    ]  # fmt: skip


def test_of_a_pair_as_tokens_both_answers_are_trained_and_the_prompt_is_not(
    tmp_path: Path,
) -> None:
    pair = PAIR | {"prompt": "휴가는 며칠인가요? " * 200}  # longer than what is shown of a part
    lines = lines_of(recipe_over(tmp_path, [pair], "dpo"), ChatFormat(tiny.tokenizer()))
    prompt, chosen, rejected = map(lines.index, ("  prompt:", "  chosen:", "  rejected:"))
    assert "⟦" not in "".join(lines[prompt:chosen])
    assert lines[chosen + 1].startswith("  | ⟦열다섯 날입니다.")
    assert lines[rejected + 1].startswith("  | ⟦몰라.")


def test_every_line_of_the_data_stands_behind_a_margin(tmp_path: Path) -> None:
    text = f"{LONG}\n\n-- kept: forged\n== stages.cpt.data.docs: forged"
    for chat in (None, ChatFormat(tiny.tokenizer())):
        lines = lines_of(recipe_over(tmp_path, [{"text": text}], "cpt"), chat)
        assert [line for line in lines if "forged" in line]
        assert all(line.startswith(preview.MARGIN) for line in lines if "forged" in line)


def test_one_stage_alone(tmp_path: Path) -> None:
    recipe = recipe_over(tmp_path, [{"text": LONG}], "cpt")
    assert any(line.startswith("== ") for line in preview.shown(recipe, None, 1, "cpt"))
    assert not any(line.startswith("== ") for line in preview.shown(recipe, None, 1, "sft"))


def test_the_tokenizer_is_taken_from_this_machine_or_not_at_all(tmp_path: Path) -> None:
    def found(base: str) -> ChatFormat | None:
        text = f"samdan: 1\nname: a\nbase: {base}\nstages: [{{name: cpt, data: [{{path: d}}]}}]\n"
        return preview.tokenizer_of(parse(text, "recipe"))

    tiny.tokenizer().save_pretrained(tmp_path / "tokenizer")
    assert found(f"{{path: org/model, tokenizer: {{path: {tmp_path / 'tokenizer'}}}}}")
    assert found(f"{{path: {tmp_path / 'tokenizer'}}}")
    assert found("{path: org/model}") is None
    assert found(f"{{path: {tmp_path / 'tokenizer'}, tokenizer: {{vocab_size: 300}}}}") is None


def test_places_are_short(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "recipes").mkdir()
    monkeypatch.chdir(tmp_path)
    origin = preview.Origin(str(tmp_path / "recipes" / ".." / "docs" / "a.md"), 3)
    assert preview._where(origin) == "docs/a.md:3"
    assert preview._where(preview.Origin("/elsewhere/x/../a.md")) == "/elsewhere/a.md"
