"""Rows of every shape become records; what is none is a Drop with a reason; nothing raises."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samdan.data.formats import (
    END_MARKERS,
    KNOWN,
    StageKind,
    as_conversation,
    as_document,
    as_pair,
    is_blank,
    records,
    strip_end_marker,
)
from samdan.data.sources import Row
from samdan.recipe import Source
from samdan.records import Conversation, DataError, Document, Drop, Message, Origin, PreferencePair

PLAIN = Source(path="data.jsonl")
ORIGIN = Origin("data.jsonl", 7)
ZERO_WIDTH = "\u200b"


def source(**fields: Any) -> Source:
    return Source(path="data.jsonl", **fields)


def row(**values: Any) -> Row:
    return Row(values, ORIGIN)


def turns(messages: Sequence[Message]) -> str:
    return " ".join(f"{message.role[0]}:{message.content}" for message in messages)


def chat(*contents: str) -> list[dict[str, str]]:
    """Messages from ``role:content``, the role often as a letter."""
    names = {"u": "user", "a": "assistant", "s": "system"}
    parts = [content.partition(":") for content in contents]
    return [{"role": names.get(role, role), "content": content} for role, _, content in parts]


def outcome(record: Any) -> str:
    """A record as its turns, a Drop as its reason."""
    if isinstance(record, Drop):
        assert record.origin == ORIGIN
        return record.reason
    assert isinstance(record, Conversation)
    return turns(record.messages)


def pair_outcome(record: Any) -> str:
    if isinstance(record, Drop):
        return record.reason
    assert isinstance(record, PreferencePair)
    return " | ".join(map(turns, (record.prompt, record.chosen, record.rejected)))


# --- documents ------------------------------------------------------------------------------------


def test_document_keeps_what_can_be_a_label() -> None:
    values = {
        "text": "본문",
        "title": " 제목 ",
        "date": date(2024, 3, 1),
        "source": 12,
        "license": ["MIT"],
        "path": "a\ud800",
        "other": "x",
    }
    document = as_document(row(**values), PLAIN)
    assert document == Document(
        "본문", ORIGIN, {"title": "제목", "date": "2024-03-01", "source": "12"}
    )
    later = as_document(row(text="a", date=datetime(2024, 3, 1, 12), source=True), PLAIN)
    assert isinstance(later, Document)
    assert later.meta == {"date": "2024-03-01 12:00:00"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "not_text"),
        (3, "not_text"),
        (["a"], "not_text"),
        ("", "empty_text"),
        (" \n\t\u3000\u00a0", "empty_text"),
        ("\u200b\u200c\u200d\ufeff\u2060", "empty_text"),
        ("\u3164\uffa0\u115f", "empty_text"),
        ("a\0b", "nul_byte"),
        ("\ud800", "lone_surrogate"),
    ],
)
def test_text_that_is_none(text: Any, reason: str) -> None:
    assert outcome(as_document(row(text=text), PLAIN)) == reason


def test_missing_column_says_what_was_looked_for_and_what_is_there() -> None:
    drop = as_document(row(body="a", id=1), PLAIN)
    assert drop == Drop("missing_column", ORIGIN, "looked for text; found body, id")
    # The mapping decides: a column of the right name does not stand in for the one it names.
    drop = as_document(row(text="a"), source(columns={"text": "body"}))
    assert isinstance(drop, Drop)
    assert drop.detail == (
        "columns names 'body', which the file does not have; looked for text (the file's 'body'); "
        "found text"
    )
    other = as_conversation(row(question="a"), PLAIN)
    shapes = "messages or conversations or prompt + completion or instruction + output"
    assert other == Drop("missing_column", ORIGIN, f"looked for {shapes}; found question")


def test_text_is_nfc_and_never_nfkc() -> None:
    decomposed = unicodedata.normalize("NFD", "한글 ①㎏ﬁ")
    document = as_document(row(text=decomposed), PLAIN)
    assert isinstance(document, Document)
    assert document.text == "한글 ①㎏ﬁ"
    names = ("prompt", "chosen", "rejected")
    made = as_pair(row(**{n: unicodedata.normalize("NFD", f"각{n}") for n in names}), PLAIN)
    assert pair_outcome(made) == "u:각prompt | a:각chosen | a:각rejected"


# --- conversations --------------------------------------------------------------------------------


SHAREGPT = [
    {"from": "system", "value": "s"},
    {"from": "human", "value": "q"},
    {"from": "gpt", "value": "a"},
]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"messages": chat("u:하나", "a:둘")}, "u:하나 a:둘"),
        (
            {"messages": chat("s:규칙", "u:하나", "a:둘", "u:셋", "a:넷")},
            "s:규칙 u:하나 a:둘 u:셋 a:넷",
        ),
        ({"messages": chat("s: ", "u:하나", "a:둘")}, "u:하나 a:둘"),
        ({"conversations": SHAREGPT}, "s:s u:q a:a"),
        ({"conversations": chat("u:q", "a:a"), "system": "s"}, "s:s u:q a:a"),
        ({"conversations": chat("s:own", "u:q", "a:a"), "system": "s"}, "s:own u:q a:a"),
        (
            {"messages": [{"from": " USR ", "value": "q"}, {"role": "ChatGPT", "content": "a"}]},
            "u:q a:a",
        ),
        ({"prompt": "q", "completion": "a"}, "u:q a:a"),
        ({"prompt": "q", "completion": "a", "system": " "}, "u:q a:a"),
        ({"prompt": chat("s:s", "u:q"), "completion": chat("a:a")}, "s:s u:q a:a"),
        ({"prompt": chat("u:q"), "completion": "a"}, "u:q a:a"),
        ({"prompt": "q", "completion": chat("a:a")[0]}, "u:q a:a"),
        ({"instruction": "q", "output": "a"}, "u:q a:a"),
        ({"instruction": "q", "input": "", "output": "a"}, "u:q a:a"),
        ({"instruction": "q", "input": None, "output": "a", "system": None}, "u:q a:a"),
        ({"instruction": "q", "input": "글", "output": "a", "system": "s"}, "s:s u:q\n\n글 a:a"),
        ({"messages": None, "prompt": "q", "completion": "a"}, "u:q a:a"),
        ({"prompt": "q", "completion": None, "instruction": "i", "output": "o"}, "u:i a:o"),
    ],
)
def test_every_shape_of_a_conversation(values: dict[str, Any], expected: str) -> None:
    assert outcome(as_conversation(row(**values), PLAIN)) == expected


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (None, "bad_message"),
        ("text", "bad_message"),
        ({"role": "user"}, "bad_message"),
        (["text"], "bad_message"),
        ([None], "bad_message"),
        ([], "no_final_answer"),
        (chat("s:s"), "no_final_answer"),
        (chat("u:q"), "no_final_answer"),
        (chat("u:q", "a:a", "u:q"), "no_final_answer"),
        (chat("a:a"), "role_order"),
        (chat("u:q", "u:q", "a:a"), "role_order"),
        (chat("u:q", "a:a", "a:a"), "role_order"),
        (chat("s:s", "s:s", "u:q", "a:a"), "role_order"),
        (chat("u:q", "s:s", "a:a"), "role_order"),
        (chat("u:q", "a:a", "s:s", "u:q", "a:a"), "role_order"),
        (chat("u: ", "a:a"), "empty_prompt"),
        (chat("u:q", "a:"), "empty_answer"),
        (chat("u:q", f"a:{ZERO_WIDTH}"), "empty_answer"),
        (chat("u:q", "a:<|im_end|>"), "empty_answer"),
        (chat("u:q", "a: ", "u:q", "a:a"), "empty_answer"),
        (chat("u:q", "tool:x", "a:a"), "unknown_role"),
        ([{"content": "x"}], "unknown_role"),
        ([{"role": ["user"], "content": "x"}], "unknown_role"),
        ([{"role": "user", "content": None}], "not_text"),
        ([{"role": "user", "content": [{"type": "text", "text": "x"}]}], "not_text"),
        ([*chat("u:q"), {"role": "assistant", "content": "a", "tool_calls": [1]}], "tool_call"),
    ],
)
def test_conversations_that_are_none(messages: Any, reason: str) -> None:
    assert outcome(as_conversation(row(messages=messages), PLAIN)) == reason


@pytest.mark.parametrize("role", ["tool", "function", "observation", "발화자", ""])
def test_unknown_roles(role: str) -> None:
    messages = [*chat("u:q"), {"role": role, "content": "x"}, *chat("a:a")]
    assert outcome(as_conversation(row(messages=messages), PLAIN)) == "unknown_role"


def test_history_of_alpaca_is_not_lost_in_silence() -> None:
    values = {"instruction": "q", "output": "a", "history": [["q", "a"]]}
    assert outcome(as_conversation(row(**values), PLAIN)) == "history"


def test_columns_are_mapped() -> None:
    mapped = source(columns={"prompt": "Q", "completion": "A"})
    assert outcome(as_conversation(row(Q="q", A="a", label="0"), mapped)) == "u:q a:a"
    # What is mapped away does not count under its own name.
    mapped = source(columns={"prompt": "instruction", "completion": "output"})
    assert (
        outcome(as_conversation(row(instruction="q", input="x", output="a"), mapped)) == "u:q a:a"
    )
    swapped = source(columns={"prompt": "completion", "completion": "prompt"})
    assert outcome(as_conversation(row(prompt="a", completion="q"), swapped)) == "u:q a:a"


def test_the_format_of_the_recipe_decides() -> None:
    values = {"messages": chat("u:m", "a:m"), "instruction": "i", "output": "o"}
    assert outcome(as_conversation(row(**values), PLAIN)) == "u:m a:m"
    assert outcome(as_conversation(row(**values), source(format="alpaca"))) == "u:i a:o"
    drop = as_conversation(row(**values), source(format="sharegpt"))
    assert isinstance(drop, Drop)
    assert (drop.reason, drop.detail.split(";")[0]) == (
        "missing_column",
        "looked for conversations",
    )


# --- pairs ----------------------------------------------------------------------------------------

SINGLE = ({"from": "gpt", "value": "c"}, {"from": "gpt", "value": "r"})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"prompt": "q", "chosen": "c", "rejected": "r"}, "u:q | a:c | a:r"),
        ({"prompt": "q", "chosen": "c", "rejected": "r", "system": "s"}, "s:s u:q | a:c | a:r"),
        (
            {"prompt": chat("s:s", "u:q"), "chosen": chat("a:c"), "rejected": "r"},
            "s:s u:q | a:c | a:r",
        ),
        (
            {"prompt": chat("u:1", "a:2", "u:3"), "chosen": "c", "rejected": "r"},
            "u:1 a:2 u:3 | a:c | a:r",
        ),
        (
            {"prompt": "q", "chosen": chat("u:q", "a:c"), "rejected": chat("u:q", "a:r")},
            "u:q | a:c | a:r",
        ),
        (
            {
                "prompt": "q",
                "chosen": chat("s:s", "u:q", "a:c"),
                "rejected": chat("s:s", "u:q", "a:r"),
            },
            "s:s u:q | a:c | a:r",
        ),
        (
            {
                "prompt": chat("u:1", "a:2"),
                "chosen": chat("u:3", "a:c"),
                "rejected": chat("u:3", "a:r"),
            },
            "u:1 a:2 u:3 | a:c | a:r",
        ),
        ({"chosen": chat("u:q", "a:c"), "rejected": chat("u:q", "a:r")}, "u:q | a:c | a:r"),
        (
            {"prompt": None, "chosen": chat("u:q", "a:c"), "rejected": chat("u:q", "a:r")},
            "u:q | a:c | a:r",
        ),
        (
            {"prompt": "", "chosen": chat("u:q", "a:c"), "rejected": chat("u:q", "a:r")},
            "u:q | a:c | a:r",
        ),
        (
            {
                "chosen": chat("u:1", "a:2", "u:3", "a:c"),
                "rejected": chat("u:1", "a:2", "u:3", "a:r"),
            },
            "u:1 a:2 u:3 | a:c | a:r",
        ),
        # They part at a question: the answers begin before it, where the assistant speaks.
        (
            {
                "chosen": chat("u:1", "a:2", "u:3", "a:c"),
                "rejected": chat("u:1", "a:2", "u:4", "a:r"),
            },
            "u:1 | a:2 u:3 a:c | a:2 u:4 a:r",
        ),
        (
            {"chosen": chat("u:1", "a:2"), "rejected": chat("u:1", "a:2", "u:3", "a:4")},
            "u:1 | a:2 | a:2 u:3 a:4",
        ),
        (
            {"conversations": chat("u:q"), "chosen": SINGLE[0], "rejected": SINGLE[1]},
            "u:q | a:c | a:r",
        ),
        (
            {"messages": chat("s:s", "u:q"), "chosen": SINGLE[0], "rejected": "r"},
            "s:s u:q | a:c | a:r",
        ),
        (
            {"instruction": "q", "input": "글", "chosen": "c", "rejected": "r"},
            "u:q\n\n글 | a:c | a:r",
        ),
    ],
)
def test_every_shape_of_a_pair(values: dict[str, Any], expected: str) -> None:
    assert pair_outcome(as_pair(row(**values), PLAIN)) == expected


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"prompt": "q", "chosen": "c", "rejected": "c"}, "equal_answers"),
        ({"prompt": "q", "chosen": "c<|im_end|>\n", "rejected": "c</s>"}, "equal_answers"),
        ({"chosen": chat("u:q", "a:c"), "rejected": chat("u:q", "a:c")}, "equal_answers"),
        ({"prompt": "q", "chosen": "", "rejected": "r"}, "empty_answer"),
        ({"prompt": "q", "chosen": [], "rejected": "r"}, "empty_answer"),
        ({"prompt": "q", "chosen": "", "rejected": ""}, "empty_answer"),
        ({"prompt": "q", "chosen": "c", "rejected": " "}, "empty_rejected"),
        (
            {"prompt": "q", "chosen": "c", "rejected": f"{ZERO_WIDTH}<|endoftext|>"},
            "empty_rejected",
        ),
        ({"prompt": "q", "chosen": "c", "rejected": []}, "empty_rejected"),
        ({"prompt": "", "chosen": "c", "rejected": "r"}, "empty_prompt"),
        ({"prompt": " ", "chosen": "c", "rejected": "r"}, "empty_prompt"),
        ({"prompt": chat("s:s"), "chosen": "c", "rejected": "r"}, "empty_prompt"),
        ({"chosen": "c", "rejected": "r"}, "empty_prompt"),
        ({"chosen": chat("u:1", "a:c"), "rejected": chat("u:2", "a:r")}, "empty_prompt"),
        ({"prompt": "q", "rejected": "r"}, "missing_column"),
        ({"prompt": "q", "chosen": "c"}, "missing_column"),
        ({"prompt": "q", "chosen": None, "rejected": "r"}, "not_text"),
        ({"prompt": 3, "chosen": "c", "rejected": "r"}, "not_text"),
        ({"prompt": chat("u:q", "a:a"), "chosen": "c", "rejected": "r"}, "role_order"),
        ({"prompt": "q", "chosen": chat("u:q", "a:c"), "rejected": "r"}, "role_order"),
        ({"prompt": "q", "chosen": chat("a:c", "u:x"), "rejected": "r"}, "no_final_answer"),
    ],
)
def test_pairs_that_are_none(values: dict[str, Any], reason: str) -> None:
    assert pair_outcome(as_pair(row(**values), PLAIN)) == reason


def test_a_mapped_prompt_that_is_not_there_is_named() -> None:
    drop = as_pair(row(chosen="c", rejected="r"), source(columns={"prompt": "Q"}))
    assert isinstance(drop, Drop)
    assert drop.detail == (
        "columns names 'Q', which the file does not have; looked for prompt (the file's 'Q'); "
        "found chosen, rejected"
    )


# --- end markers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("marker", END_MARKERS)
def test_end_marker_goes_from_the_end_only(marker: str) -> None:
    assert strip_end_marker(f"답{marker}") == ("답", True)
    assert strip_end_marker(f"답 {marker}\n ") == ("답 ", True)
    assert strip_end_marker(f"답{marker}{marker}\n</s>") == ("답", True)
    assert strip_end_marker(f"{marker} 뒤") == (f"{marker} 뒤", False)
    assert strip_end_marker("답 \n") == ("답 \n", False)
    assert strip_end_marker(marker) == ("", True)
    assert strip_end_marker("") == ("", False)


def test_end_markers_are_counted_for_the_records_that_are_kept() -> None:
    notes: Counter[str] = Counter()
    as_pair(row(prompt="q</s>", chosen="c</s>", rejected="r<eos>"), PLAIN, notes)
    assert notes == {"end_marker_removed": 2}
    as_pair(row(prompt="q", chosen="c</s>", rejected="</s>"), PLAIN, notes)
    assert notes == {"end_marker_removed": 2}
    made = as_conversation(row(messages=chat("u:q</s>", "a:1</s>", "u:q", "a:2</s>")), PLAIN, notes)
    assert outcome(made) == "u:q</s> a:1 u:q a:2"
    assert notes == {"end_marker_removed": 4}
    as_conversation(row(prompt="q", completion="a"), PLAIN, untouched := Counter[str]())
    assert not dict(untouched)


# --- records() ------------------------------------------------------------------------------------


def test_records_keep_order_and_drops(tmp_path: Path) -> None:
    lines = ['{"Q": "q", "A": "a</s>"}', "{", '{"Q": "q"}', '{"Q": "r", "A": "b"}']
    (tmp_path / "x.jsonl").write_text("\n".join(lines), encoding="utf-8")
    notes: Counter[str] = Counter()
    mapped = Source(path=str(tmp_path), columns={"prompt": "Q", "completion": "A"})
    found = list(records("sft", mapped, notes))
    assert [record.origin.line for record in found] == [1, 2, 3, 4]
    assert [f.reason if isinstance(f, Drop) else "" for f in found] == [
        "", "broken_json", "missing_column", "",
    ]  # fmt: skip
    assert notes == {"end_marker_removed": 1}
    assert len(list(records("sft", mapped.model_copy(update={"max_records": 2})))) == 2


def test_a_markdown_folder_is_a_cpt_source(tmp_path: Path) -> None:
    (tmp_path / "안내.md").write_text("# 안내\n", encoding="utf-8")
    [document] = records("cpt", Source(path=str(tmp_path), name="guides"))
    assert isinstance(document, Document)
    assert document.text == "# 안내\n"
    assert document.meta == {"title": "안내", "path": "안내.md", "source": "guides"}


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        ("cpt", {"format": "messages"}, "found format 'messages', expected one of auto, text"),
        ("sft", {"format": "preference"}, "expected one of auto, messages, sharegpt"),
        ("dpo", {"format": "prompt_completion"}, "expected one of auto, preference"),
        ("sft", {"columns": {"promt": "Q"}}, r"columns\.promt: .*did you mean 'prompt'"),
        ("cpt", {"columns": {"prompt": "Q"}}, r"columns\.prompt: .*known here: author, date"),
    ],
)
def test_a_recipe_that_does_not_fit_the_stage(kind: Any, fields: Any, said: str) -> None:
    with pytest.raises(DataError, match=f"data: .*{said}"):
        records(kind, source(**fields))


# --- whatever the row holds -----------------------------------------------------------------------

ANY_TEXT = st.one_of(
    st.text(max_size=8),
    st.text(st.characters(), max_size=4),  # with lone surrogates
    st.sampled_from(["", " ", ZERO_WIDTH, "\0", "</s>", "답<|im_end|>", "각", "user", "gpt"]),
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT
MESSAGES = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "system", "tool", 1, None]),
        "content": ANY_TEXT,
    },
    optional={"from": SCALARS, "value": SCALARS, "tool_calls": SCALARS},
)
ANY_JSON = st.recursive(
    SCALARS | MESSAGES | st.lists(MESSAGES, max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(sorted({name for _, names in KNOWN.values() for name in names}))
ROWS = st.dictionaries(NAMES | ANY_TEXT, ANY_JSON, max_size=6)
ALTERNATING = st.lists(ANY_TEXT, min_size=1, max_size=5).map(
    lambda texts: chat(*(f"{'ua'[i % 2]}:{text}" for i, text in enumerate(texts)))
)
LIKELY = st.dictionaries(NAMES, ANY_TEXT | ALTERNATING | ANY_JSON, min_size=1, max_size=5)
MAPPINGS = st.dictionaries(NAMES, NAMES, max_size=3)


def is_sound(messages: Sequence[Message]) -> bool:
    dialogue = messages[1:] if messages[0].role == "system" else messages
    return (
        [m.role for m in dialogue] == ["user", "assistant"] * (len(dialogue) // 2)
        and len(dialogue) > 0
        and not any(is_blank(m.content) for m in messages)
        and all(unicodedata.is_normalized("NFC", m.content) for m in messages)
        and not any(strip_end_marker(m.content)[1] for m in messages if m.role == "assistant")
    )


@given(ROWS | LIKELY, MAPPINGS)
def test_nothing_raises_and_every_record_is_sound(
    values: dict[str, Any], columns: dict[str, str]
) -> None:
    any_row, mapped = Row(values, ORIGIN), source(columns=columns)
    made = as_document(any_row, mapped)
    assert isinstance(made, Document | Drop)
    if isinstance(made, Document):
        assert made.text.encode()
        assert not is_blank(made.text)
        assert all(isinstance(value, str) and value for value in made.meta.values())
    talk = as_conversation(any_row, mapped)
    assert isinstance(talk, Conversation | Drop)
    assert isinstance(talk, Drop) or is_sound(talk.messages)
    pair = as_pair(any_row, mapped)
    assert isinstance(pair, PreferencePair | Drop)
    if isinstance(pair, PreferencePair):
        assert is_sound(pair.prompt + pair.chosen)
        assert is_sound(pair.prompt + pair.rejected)
        assert pair.prompt[-1].role == "user"
        assert pair.chosen != pair.rejected
    for drop in (made, talk, pair):
        if isinstance(drop, Drop):
            assert drop.reason.replace("_", "").isalpha()
            assert drop.reason.islower()
            assert drop.origin == ORIGIN


@given(st.lists(ANY_TEXT.filter(lambda t: not is_blank(strip_end_marker(t)[0])), min_size=2))
def test_sound_messages_are_never_dropped_for_their_shape(texts: list[str]) -> None:
    messages = chat(*(f"{'ua'[i % 2]}:{t}" for i, t in enumerate(texts[: len(texts) // 2 * 2])))
    made = as_conversation(row(messages=messages), PLAIN)
    if isinstance(made, Drop):
        assert made.reason in ("nul_byte", "lone_surrogate")
    else:
        assert len(made.messages) == len(messages)


# --- real data ------------------------------------------------------------------------------------


def counted(kind: StageKind, path: Path, **fields: Any) -> tuple[int, Counter[str], Counter[str]]:
    """Records, drops by reason, notes."""
    kept, drops, notes = 0, Counter[str](), Counter[str]()
    for record in records(kind, Source(path=str(path), **fields), notes):
        if isinstance(record, Drop):
            drops[record.reason] += 1
        else:
            kept += 1
    return kept, drops, notes


def test_real_chatbot_with_mapped_columns(shared_data: Path) -> None:
    columns = {"prompt": "Q", "completion": "A"}
    path = shared_data / "sft" / "songys-chatbot.jsonl.gz"
    assert counted("sft", path, columns=columns) == (11_823, {}, {})


def test_real_instructions(shared_data: Path) -> None:
    path = shared_data / "sft" / "vaiv-instructions.jsonl.gz"
    assert counted("sft", path) == (2458, {"empty_answer": 3}, {})


def test_real_pairs(shared_data: Path) -> None:
    kept, drops, notes = counted("dpo", shared_data / "preference")
    assert (kept, drops) == (2547, {"empty_rejected": 36, "nul_byte": 1})
    assert notes == {"end_marker_removed": 4936}


def test_real_documents(shared_data: Path) -> None:
    path = shared_data / "corpus" / "ko-company-egov.jsonl.gz"
    assert counted("cpt", path) == (664, {}, {})
    document = next(records("cpt", Source(path=str(path))))
    assert isinstance(document, Document)
    assert set(document.meta) == {"source", "path", "license"}
