"""Does a base look instruction-tuned? Continued pre-training of such a model undoes its tuning.

Judged by name, by model card, and by how much likelier it finds an answer in its chat format than
in plain text. Never by a template alone: base models ship one too.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch

from samdan.lm.batch import Encoded, collate
from samdan.lm.chat import ChatFormat
from samdan.lm.scoring import Scorer, sum_by_sequence
from samdan.records import Message

# Nats per answer token by which an instruction-tuned model prefers its own format, and the
# probability with which it closes its turn after an answer. Both are asked for.
LIKELIER_BY = 0.5
CLOSES_WITH = 0.5
_DIALOGUES = (
    ("대한민국의 수도는 어디인가요?", "대한민국의 수도는 서울입니다."),
    ("물은 몇 도에서 끓나요?", "물은 1기압에서 섭씨 100도에 끓습니다."),
    ("What is the capital of France?", "The capital of France is Paris."),
    ("How many days are there in a week?", "There are seven days in a week."),
)
_INSTRUCT_NAME = re.compile(
    r"(?i)(?:^|[-_/ .])(instruct|chat|it|sft|dpo|rlhf|assistant)(?:$|[-_/ .])"
)


def looks_instructed_by_name(path: str) -> str | None:
    """The part of a model's name or card that says it is instruction-tuned."""
    match = _INSTRUCT_NAME.search(Path(path).name if Path(path).exists() else path)
    if match:
        return f"its name contains '{match.group(1)}'"
    card = Path(path) / "README.md"
    if card.is_file():
        text = card.read_text("utf-8", errors="replace")
        if re.search(r"(?im)^\s*-\s*(conversational|instruct|chat)\s*$", text):
            return "its model card is tagged conversational"
        if re.search(r"(?i)instruction[- ]tuned\s+model\b", text[:3000]):
            return "its model card calls it instruction-tuned"
    return None


def looks_instructed_by_likelihood(scorer: Scorer, chat: ChatFormat) -> str | None:
    """Compares answers in the chat format with the same answers behind the bare question."""
    if chat.turn_end is None or chat.new_tokens:
        return None
    gain, closing = [], []
    for question, answer in _DIALOGUES:
        formatted = chat.answered((Message("user", question),), answer)
        closed = _append(formatted, chat.turn_end)
        plain_prompt = chat.encode_text(question + "\n")
        plain = Encoded(
            np.asarray(plain_prompt + chat.encode_text(answer), np.uint32),
            np.asarray([False] * len(plain_prompt) + [True] * len(chat.encode_text(answer))),
        )
        (in_chat, tokens), (in_plain, plain_tokens), (end, _) = _score(
            scorer, [formatted, plain, closed]
        )
        gain.append(in_chat / tokens - in_plain / plain_tokens)
        closing.append(float(np.exp(end)))
    likelier, closes = float(np.mean(gain)), float(np.mean(closing))
    if likelier > LIKELIER_BY and closes > CLOSES_WITH:
        return (
            f"it finds answers in its chat format {likelier:.2f} nats per token likelier than in "
            f"plain text and closes its turn with probability {closes:.2f}"
        )
    return None


def _append(record: Encoded, token: int) -> Encoded:
    """The record with one more token, which alone is trained."""
    tokens = np.append(record.tokens, np.uint32(token))
    trained = np.zeros(len(tokens), np.bool_)
    trained[-1] = True
    return Encoded(tokens, trained)


def _score(scorer: Scorer, records: list[Encoded]) -> list[tuple[float, int]]:
    scorer.eval()
    with torch.inference_mode():
        batch = collate(records)
        sums, counts = sum_by_sequence(scorer(batch), batch)
    return list(zip(sums.tolist(), counts.long().tolist(), strict=True))
