"""Infilling and needles: tasks that show a model a text and ask for a place in it."""

from __future__ import annotations

import random
from collections.abc import Sequence

from samdan.answers.lines import lines_to_fill
from samdan.answers.needles import haystack
from samdan.answers.needles import needle as make_needle
from samdan.contexts import Infill, Needle
from samdan.evals.generate import generate
from samdan.evals.items import Row, text_of
from samdan.evals.likelihood import continued, greedy_hits
from samdan.evals.subject import Scored, Subject, share
from samdan.lm.batch import Encoded
from samdan.lm.infilling import Infilling
from samdan.records import DataError

LONGEST_LINE = 100  # characters; longer lines of a haystack are cut, so that it fills evenly
FULL = 0.9  # of the length asked for; with less text the lengths would not mean what they say


def infill(task: Infill, items: Sequence[Row], subject: Subject) -> Scored:
    """``/exact``: the whole answer is the line. ``/first_line``: its first line is.

    ``/stops``: it ended by itself. With ``prefix_only`` there is nothing to end it but the line
    break, so that ``/exact`` and ``/stops`` are left out. Without outer white space.
    """
    asked = _lines(task, items)
    prompts, stops = _prompts(task, asked, subject)
    model, chat = subject.scorer.model, subject.chat
    with subject.scorer.precision():
        answers = generate(
            model, chat, prompts, task.max_new_tokens, subject.poll, sampling=None, stops=stops
        )
    first, exact = [], []
    for item, (said, _) in zip(asked, answers, strict=True):
        wanted = item["middle"].strip()
        first.append(float(said.strip().partition("\n")[0].strip() == wanted))
        exact.append(float(said.strip() == wanted))
    results = [share(f"{task.name}/first_line", first)]
    if task.order != "prefix_only":
        ended = [float(end) for _, end in answers]
        results = [share(f"{task.name}/exact", exact), *results, share(f"{task.name}/stops", ended)]
    kept = tuple(
        {"prompt": item["prefix"][-200:], "suffix": item["suffix"][:200], "said": said,
         "expected": item["middle"], "correct": bool(hit)}
        for item, (said, _), hit in zip(asked, answers, first, strict=True)
    )  # fmt: skip
    return Scored(tuple(results), kept)


def _lines(task: Infill, items: Sequence[Row]) -> list[dict[str, str]]:
    """Lines with what stands around them, cut to ``context_chars`` on both sides."""
    if all("middle" in item for item in items):
        found = [{key: str(item[key]) for key in ("prefix", "middle", "suffix")} for item in items]
    else:
        texts = [text_of(item, "text") for item in items]
        code = task.lines == "code"
        found = lines_to_fill(texts, task.seed, code, task.per_document, task.min_chars)
    if not found:
        raise DataError(
            f"evaluate.{task.name}: no line of {len(items)} documents can be asked for; take "
            f"longer documents, or lower 'min_chars'"
        )
    if len(found) > task.max_items:
        chosen = random.Random(f"{task.seed}/infill").sample(range(len(found)), task.max_items)
        found = [found[number] for number in sorted(chosen)]
    width = task.context_chars
    return [
        {"prefix": i["prefix"][-width:], "middle": i["middle"], "suffix": i["suffix"][:width]}
        for i in found
    ]


def _prompts(
    task: Infill, asked: Sequence[dict[str, str]], subject: Subject
) -> tuple[list[list[int]], tuple[int, ...] | None]:
    """Token ids of every prompt, and the tokens that end an answer (None: the chat format's)."""
    if task.order == "prefix_only":
        start = [] if subject.chat.document_start is None else [subject.chat.document_start]
        # Without the line's indent: in plain text it is one token with what follows, and a prompt
        # that ends inside of it is one that such a model has never seen.
        texts = [item["prefix"].rstrip(" \t") for item in asked]
        before = subject.chat.encode_texts(texts)
        # An empty prompt cannot be continued; the end of another document says: begin.
        end = [] if subject.chat.document_end is None else [subject.chat.document_end]
        return [start + ids or end for ids in before], None
    infilling = Infilling(task.tokens, subject.chat, f"evaluate.{task.name}.tokens")
    prompts = [infilling.prompt(i["prefix"], i["suffix"], task.order) for i in asked]
    return prompts, (infilling.eot, *subject.chat.stop_tokens)


def needle(task: Needle, items: Sequence[Row], subject: Subject) -> Scored:
    """``/accuracy``, by length ``/at_1024`` and by depth in percent ``/depth_50``.

    Right where every token of the number is the likeliest one at its place, as greedy decoding
    would find. Raises DataError where the documents do not fill the lengths.
    """
    lines = [part for item in items for part in _short_lines(text_of(item, "text"))]
    sizes = [len(ids) for ids in subject.chat.encode_texts(lines)]
    cells = [(n, d, k) for n in task.lengths for d in task.depths for k in range(task.per_cell)]
    records: list[Encoded] = []
    kept = []
    for length, depth, number in cells:
        chance = random.Random(f"{task.seed}/needle/{length}/{depth}/{number}")
        one = make_needle(task.language, chance)
        own = len(subject.chat.encode_text(f"{one.sentence}\n{one.question}{one.answer}")) + 4
        first = chance.randrange(len(lines)) if lines else 0
        before, after = haystack(sizes, first, length - own, depth)
        if sum(sizes) < FULL * (length - own):
            raise DataError(
                f"evaluate.{task.name}: the documents hold {sum(sizes)} tokens and {length} are to "
                f"be filled; take more documents, or shorter 'lengths'"
            )
        hay = ["".join(lines[line] for line in part) for part in (before, after)]
        prompt = f"{hay[0]}{one.sentence}\n{hay[1]}{one.question}"
        row = {"prompt": prompt, "_where": f"{task.name}:{len(records) + 1}"}
        records.append(continued(row, one.answer, False, subject.chat))
        kept.append({"prompt": one.sentence, "length": length, "depth": depth})
    correct = greedy_hits(records, subject)
    rows = list(zip(cells, correct, strict=True))
    results = [share(f"{task.name}/accuracy", correct)]
    for length in task.lengths:
        hits = [hit for (n, _, _), hit in rows if n == length]
        results.append(share(f"{task.name}/at_{length}", hits))
    for depth in task.depths:
        hits = [hit for (_, d, _), hit in rows if d == depth]
        results.append(share(f"{task.name}/depth_{round(100 * depth, 1):g}", hits))
    items_kept = tuple(
        {**row, "tokens": len(record), "correct": bool(hit)}
        for row, record, hit in zip(kept, records, correct, strict=True)
    )
    return Scored(tuple(results), items_kept)


def _short_lines(text: str) -> list[str]:
    """Lines with their line breaks, none longer than ``LONGEST_LINE``; empty ones left out."""
    out = []
    for line in text.splitlines():
        for start in range(0, len(line), LONGEST_LINE):
            part = line[start : start + LONGEST_LINE].strip()
            if part:
                out.append(part + "\n")
    return out
