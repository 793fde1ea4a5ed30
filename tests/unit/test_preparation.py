"""Clean, copies, protect, prepare: what is left out of training, why, and that it all adds up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
from samdan.cleaning import Cleaning, FrequentLines
from samdan.data.clean import clean_source
from samdan.data.contamination import ItemIndex
from samdan.data.copies import find_copies
from samdan.data.engine import Engine
from samdan.data.overlaps import find
from samdan.data.prepare import Guard, Preparation, prepare_source
from samdan.data.protect import Cleaned, build_guard
from samdan.lm.shards import Shard
from samdan.personal import PersonalData
from samdan.recipe import HeldOut, Source, Stage
from samdan.records import DataError
from samdan.removing import Decontaminate, Dedup
from samdan.selecting import Random

SUBJECTS = ("한빛전자", "가온물산", "누리상사", "다솜식품", "라온건설", "마루통신")
PLACES = (
    "강릉 바닷가 언덕", "대전 갑천 옆", "목포 항구 앞", "춘천 호수 둘레", "제주 오름 아래",
    "포항 모래밭 끝",
)  # fmt: skip
GOODS = (
    "투명한 회로판을", "말린 꽃차를", "나무 장난감을", "겨울 장갑을", "작은 풍력기를",
    "종이 악기를",
)  # fmt: skip


def story(number: int) -> str:
    """Texts that differ in most of their words."""
    a, b, c = number % 6, number // 6 % 6, number // 36 % 6
    return (
        f"{SUBJECTS[a]} {number}호점은 {PLACES[b]}에 있다. 그곳 사람들은 {GOODS[c]} 만들어 "
        f"{PLACES[(a + b) % 6]} 시장에 내놓는다. {1900 + number}년 기록에는 "
        f"{SUBJECTS[(b + c) % 6]} 직원 {number * 7}명이 {GOODS[(a + c) % 6]} 날랐다고 적혀 있다."
    )


class World:
    """A stage over sources of given rows, taken through the steps of preparation."""

    engine = Engine(workers=1)

    def __init__(self, folder: Path, stage: Stage, rows: Sequence[Sequence[Any]]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        data = []
        for source, mine in zip(stage.data, rows, strict=True):
            path = folder / f"{source.label}.jsonl"
            values = [{"text": row} if isinstance(row, str) else row for row in mine]
            path.write_text("".join(json.dumps(v, ensure_ascii=False) + "\n" for v in values))
            data.append(source.model_copy(update={"path": str(path)}))
        self.stage = stage.model_copy(update={"data": tuple(data)})
        self.cleaned = {
            source.label: clean_source(self.stage, source, self._clean(source))  # type: ignore[arg-type]
            for source in data
        }
        folders = {source.label: self._clean(source) for source in data}
        self.copies = find_copies(folders, folder / "copies", stage.dedup)["copies"]

    def _clean(self, source: Source) -> Path:
        return self.folder / source.label / "clean"

    def sources(self) -> list[Cleaned]:
        return [
            Cleaned(self.stage, source, self._clean(source), self.folder / "copies")
            for source in self.stage.data
        ]

    def prepared(self, number: int = 0, guard: Guard | None = None) -> dict[str, Any]:
        cleaned = self.sources()[number]
        out = self.folder / cleaned.source.label
        tokenizer = self.folder / "tokenizer"
        tiny.tokenizer().save_pretrained(tokenizer)
        given = Preparation(tiny.chat(), tokenizer, 0, guard, self.engine)
        manifest = prepare_source(cleaned, out, given)
        left_out = sum(manifest["records_dropped"].values())
        trained, held = manifest["records_trained"], manifest["records_heldout"]
        assert manifest["records_in"] == trained + held + left_out
        return manifest

    def texts(self, label: str) -> list[str]:
        shard, chat = Shard(self.folder / label), tiny.chat()
        records = [shard.record(number).tokens.tolist() for number in range(len(shard))]
        return [chat.tokenizer.decode(ids, skip_special_tokens=True) for ids in records]


NOTHING_HELD = HeldOut(share=0.0)


# --- copies -------------------------------------------------------------------------------------


def test_the_first_source_keeps_what_a_later_one_repeats(tmp_path: Path) -> None:
    data = (tiny.source("docs"), tiny.source("wiki", "replay"))
    stage = tiny.cpt(data=data, heldout=NOTHING_HELD)
    same = [story(n) for n in range(5)]
    world = World(tmp_path, stage, [same, [story(9), *same[:2], f"  {same[2]}\n"]])
    assert world.copies == {"docs": {}, "wiki": {"duplicate": 3}}
    assert world.prepared(0)["records_trained"] == 5
    assert world.prepared(1)["records_dropped"] == {"duplicate": 3}
    dropped = (tmp_path / "wiki" / "dropped.jsonl").read_text("utf-8").splitlines()
    assert f"of {tmp_path / 'docs.jsonl'}:1" in json.loads(dropped[0])["detail"]


def test_sources_may_be_compared_with_themselves_only_or_not_at_all(tmp_path: Path) -> None:
    data = (tiny.source("docs"), tiny.source("wiki", "replay"))
    rows = [[story(1), story(1)], [story(1), story(2)]]
    alone = tiny.cpt(data=data, heldout=NOTHING_HELD, dedup=Dedup(across_sources=False))
    assert World(tmp_path / "a", alone, rows).copies == {"docs": {"duplicate": 1}, "wiki": {}}
    none = tiny.cpt(data=data, heldout=NOTHING_HELD, dedup=None)
    assert World(tmp_path / "b", none, rows).copies == {"docs": {}, "wiki": {}}


def test_a_near_copy_is_left_out_and_says_what_it_resembles(tmp_path: Path) -> None:
    long = " ".join(story(n) for n in range(6))
    stage = tiny.cpt(heldout=NOTHING_HELD)
    world = World(tmp_path, stage, [[long, story(40), long.replace("1903년", "1904년")]])
    assert world.copies == {"docs": {"near_duplicate": 1}}
    detail = json.loads((tmp_path / "copies" / "docs.jsonl").read_text("utf-8"))["detail"]
    assert detail.endswith("docs.jsonl:1")
    assert 0.8 <= float(detail.split()[0]) <= 1


def test_repeated_paragraphs_are_cut_out_of_later_documents(tmp_path: Path) -> None:
    shared = story(3)
    dedup = Dedup(paragraphs=True, min_paragraph=50)
    stage = tiny.cpt(heldout=NOTHING_HELD, max_length=512, dedup=dedup)
    rows = [f"{story(1)}\n{shared}", f"{story(2)}\n{shared}\n{story(4)}"]
    world = World(tmp_path, stage, [rows])
    assert world.copies == {"docs": {"trimmed": 1}}
    world.prepared()
    assert world.texts("docs") == [rows[0], f"{story(2)}\n{story(4)}"]


# --- cleaning and personal data -------------------------------------------------------------------


def test_documents_are_cleaned_and_masked_and_both_are_counted(tmp_path: Path) -> None:
    rows = [f"{story(1)}\nㅋㅋㅋㅋㅋㅋ", f"{story(2)} 문의는 010-1234-5678로 주세요."]
    world = World(tmp_path, tiny.cpt(heldout=NOTHING_HELD, max_length=512), [rows])
    assert world.cleaned["docs"]["cleaned"] == {"jamo_capped": 1}
    assert world.cleaned["docs"]["personal"] == {"phone": 1}
    world.prepared()
    assert world.texts("docs") == [
        f"{story(1)}\nㅋㅋㅋ",
        f"{story(2)} 문의는 ⟨전화번호⟩로 주세요.",
    ]


def test_conversations_and_pairs_are_masked_in_every_turn(tmp_path: Path) -> None:
    asked = {"prompt": "제 번호는 010-1234-5678이에요.", "completion": "a@naver.com으로 보내세요."}
    world = World(tmp_path / "sft", tiny.sft(heldout=NOTHING_HELD), [[asked]])
    assert world.cleaned["talks"]["personal"] == {"email": 1, "phone": 1}
    pair = {"prompt": "번호?", "chosen": "010-1234-5678입니다.", "rejected": "010-9876-5432입니다."}
    world = World(tmp_path / "dpo", tiny.dpo(heldout=NOTHING_HELD), [[pair]])
    assert world.cleaned["pairs"]["personal"] == {"phone": 2}


def test_a_policy_may_drop_or_keep(tmp_path: Path) -> None:
    rows = [story(1), f"{story(2)} 010-1234-5678", f"{story(3)} a@naver.com"]
    source = tiny.source("docs", personal=PersonalData(drop=("phone",), keep=("email",)))
    world = World(tmp_path, tiny.cpt(data=(source,), heldout=NOTHING_HELD), [rows])
    assert world.cleaned["docs"]["dropped"] == {"personal_data": 1}
    kept = world.folder / "docs" / "clean" / "screen" / "00000" / "kept.jsonl"
    assert "a@naver.com" in kept.read_text("utf-8")


def test_lines_that_the_corpus_shares_go_in_a_second_pass(tmp_path: Path) -> None:
    clean = Cleaning(frequent_lines=FrequentLines(at_least_documents=5, at_least_share=0.5))
    footer = "이 문서는 사내 규정에 따라 관리됩니다"
    rows = [f"{story(n)}\n{footer}" for n in range(8)]
    stage = tiny.cpt(data=(tiny.source("docs", clean=clean),), heldout=NOTHING_HELD, max_length=512)
    world = World(tmp_path, stage, [rows])
    assert world.cleaned["docs"]["cleaned"]["frequent_line"] == 8
    world.prepared()
    assert world.texts("docs") == [story(n) for n in range(8)]


# --- what is measured on --------------------------------------------------------------------------


def guard(world: World, tasks: dict[str, Any], folder: Path, **fields: Any) -> Guard:
    spec = Decontaminate(**fields)
    build_guard(tasks, world.sources(), 0, spec, folder)
    return Guard(folder, spec)


def test_a_document_that_holds_an_evaluation_question_is_left_out(tmp_path: Path) -> None:
    question = "겨울에 얼어붙은 저수지 위에서 쓰는 낚시 도구의 이름은 무엇인가요?"
    rows = [*(story(n) for n in range(8)), f"{story(8)} {question} 모두가 궁금해했다."]
    world = World(tmp_path, tiny.cpt(heldout=NOTHING_HELD), [rows])
    other = {"prompt": story(90), "answer": "예"}
    tasks = {"quiz": [{"prompt": question, "answer": "견지"}, other]}
    manifest = world.prepared(0, guard(world, tasks, tmp_path / "guard"))
    assert manifest["records_dropped"] == {"contaminated": 1}
    assert manifest["contamination"]["dirty"] == 1
    assert manifest["contamination"]["overlaps"][0]["item"] == "quiz:1"
    detail = json.loads((tmp_path / "docs" / "dropped.jsonl").read_text("utf-8"))["detail"]
    assert detail.startswith("quiz:1: 100% of it")


@pytest.mark.parametrize(
    "row",
    [
        {"question": "QUESTION", "context": story(1), "answers": ["견지"]},
        {"turns": ["먼저 묻겠습니다.", "QUESTION"]},
        {"text": "QUESTION"},
    ],
)
def test_a_question_is_an_item_under_any_of_its_names(tmp_path: Path, row: dict[str, Any]) -> None:
    question = "겨울에 얼어붙은 저수지 위에서 쓰는 낚시 도구의 이름은 무엇인가요?"
    filled = json.loads(json.dumps(row, ensure_ascii=False).replace("QUESTION", question))
    rows = [*(story(n) for n in range(8)), f"{story(8)} {question} 모두가 궁금해했다."]
    world = World(tmp_path, tiny.cpt(heldout=NOTHING_HELD), [rows])
    manifest = world.prepared(0, guard(world, {"quiz": [filled]}, tmp_path / "guard"))
    assert manifest["records_dropped"] == {"contaminated": 1}  # and the context may be read


@pytest.mark.parametrize("fields", [{"ignore": ("quiz",)}, {"drop": False}])
def test_contamination_may_be_ignored_or_only_reported(tmp_path: Path, fields: Any) -> None:
    rows = [story(n) for n in range(8)]
    world = World(tmp_path, tiny.cpt(heldout=NOTHING_HELD), [rows])
    tasks = {"quiz": [{"text": story(3)}]}
    manifest = world.prepared(0, guard(world, tasks, tmp_path / "guard", **fields))
    assert manifest["records_dropped"] == {}
    assert manifest["contamination"]["dirty"] == (0 if "ignore" in fields else 1)


def test_what_one_stage_holds_out_no_other_trains_on(tmp_path: Path) -> None:
    """A document quotes the questions of conversations that SFT holds out."""
    ask = "호점의 야간 경비 교대 시각과 담당 조의 이름을 알려 주세요"
    asked = [f"{SUBJECTS[n % 6]} {n}{ask}" for n in range(40)]
    talks = [{"prompt": text, "completion": "네, 알겠습니다."} for text in asked]
    sft = World(tmp_path / "sft", tiny.sft(heldout=HeldOut(share=0.3), max_length=512), [talks])
    cpt = World(tmp_path / "cpt", tiny.cpt(heldout=NOTHING_HELD), [[*asked, story(1)]])
    spec = Decontaminate(threshold=1.0, text_threshold=1.0)
    build_guard({}, [*sft.sources(), *cpt.sources()], 0, spec, tmp_path / "guard")
    seen = cpt.prepared(0, Guard(tmp_path / "guard", spec))
    held = sft.prepared()["records_heldout"]
    assert 5 <= held <= 20
    assert seen["records_dropped"] == {"contaminated": held}


def test_held_out_records_do_not_count_against_themselves(tmp_path: Path) -> None:
    stage = tiny.cpt(heldout=HeldOut(share=0.4))
    world = World(tmp_path, stage, [[story(n) for n in range(30)]])
    whole = {"threshold": 1.0, "text_threshold": 1.0}
    manifest = world.prepared(0, guard(world, {}, tmp_path / "guard", **whole))
    assert manifest["records_dropped"] == {}
    assert manifest["records_heldout"] > 4


def test_the_index_holds_what_is_measured_and_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    stage = tiny.cpt(heldout=HeldOut(share=0.5, max_records=5), max_length=512)
    for count in (60, 200):
        world = World(tmp_path / str(count), stage, [[story(n) for n in range(count)]])
        folder = tmp_path / str(count) / "guard"
        found = build_guard({}, world.sources(), 0, Decontaminate(), folder)
        assert found["items"] == 10
        world.prepared()
        held = Shard(world.folder / "docs" / "heldout")
        assert len(held) > 20
        measured = np.argsort(held.positions)[:5].tolist()
        texts = [tiny.chat().tokenizer.decode(held.record(n).tokens.tolist()) for n in measured]
        index = ItemIndex.load(folder)
        assert all(find(index, [[text]], Decontaminate()) for text in texts)


# --- selection ------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_a_source_keeps_what_its_budget_allows_and_what_is_held_out(
    tmp_path: Path, workers: int
) -> None:
    source = tiny.source("docs", select=Random(share=0.25))
    stage = tiny.cpt(data=(source,), heldout=HeldOut(share=0.2))
    world = World(tmp_path, stage, [[story(n) for n in range(60)]])
    world.engine = Engine(workers=workers)
    manifest = world.prepared()
    left_out = manifest["records_dropped"]["not_selected"]
    trainable = manifest["records_trained"] + left_out
    assert abs(manifest["records_trained"] / trainable - 0.25) < 0.05
    assert manifest["records_heldout"] == 60 - trainable
    report = json.loads((tmp_path / "docs" / "selection.json").read_text("utf-8"))
    assert report["after"]["documents"] == manifest["records_trained"]
    assert (tmp_path / "docs" / "selection.md").is_file()


def test_every_reason_of_reading_is_a_bad_row_but_what_was_never_meant(tmp_path: Path) -> None:
    """A folder's picture is no bad row; it is counted all the same."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text(story(1), "utf-8")
    (folder / "b.png").write_bytes(b"\x89PNG")
    stage = tiny.cpt(heldout=NOTHING_HELD)
    source = Source(path=str(folder), name="docs")
    manifest = clean_source(stage, source, tmp_path / "clean")
    assert manifest["dropped"] == {"unsupported_file": 1}
    assert manifest["bad"] == {}
    (folder / "c.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="rows are bad"):
        clean_source(stage, source, tmp_path / "again")
