"""Tasks whose answers are generated, and what is measured of any answer."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from samdan.answers import overlap
from samdan.answers.checks import parse_checks, passed, passed_loosely
from samdan.answers.quality import Quality, quality
from samdan.answers.refusal import refuses
from samdan.answers.template import commonest
from samdan.answers.text import asks_for_korean
from samdan.evals.generate import Sampling, generate
from samdan.evals.items import Row, asked_of, expected_of, text_of, turns_of
from samdan.evals.subject import Scored, Subject, share
from samdan.lm.chat import ChatFormat
from samdan.records import EnvironmentFailure, EvalResult, Message
from samdan.tasks import Exact, Instructions, Open, Overlap, Pattern, QuestionAnswering, Refusal

Answer = tuple[str, bool]  # text, ended by itself
FAMILIES: Final = ("amount", "content", "tone", "form")


def exact(task: Exact, items: Sequence[Row], subject: Subject) -> Scored:
    answers = _answers(task, items, subject)
    wanted = [normalise(text_of(item, "answer"), task.strip) for item in items]
    correct = [
        float(normalise(a, task.strip) == w) for (a, _), w in zip(answers, wanted, strict=True)
    ]
    kept = tuple(
        {"prompt": item["prompt"], "said": said, "expected": item["answer"], "correct": bool(hit)}
        for item, (said, _), hit in zip(items, answers, correct, strict=True)
    )
    results = (share(f"{task.name}/exact", correct), _stops(task.name, answers))
    more = _quality(task.name, items, answers) if task.quality else ()
    return Scored((*results, *more), kept)


def pattern(task: Pattern, items: Sequence[Row], subject: Subject) -> Scored:
    answers = _answers(task, items, subject)
    compiled = re.compile(task.pattern)
    found = [float(bool(compiled.search(said.strip()))) for said, _ in answers]
    kept = tuple(
        {"prompt": item["prompt"], "said": said, "found": bool(hit)}
        for item, (said, _), hit in zip(items, answers, found, strict=True)
    )
    result = share(f"{task.name}/{task.metric}", found, task.higher_is_better)
    if not task.quality:
        return Scored((result,), kept)
    more = (_stops(task.name, answers), *_quality(task.name, items, answers))
    return Scored((result, *more), kept)


def instructions(task: Instructions, items: Sequence[Row], subject: Subject) -> Scored:
    """``/prompts``: every check passed; ``/checks`` and ``/loose``: the share of checks.

    And the share of checks by family, where the set asks for one.
    """
    checks = [parse_checks(item.get("checks"), item["_where"]) for item in items]
    answers = _answers(task, items, subject)
    strict = [passed(c, said) for c, (said, _) in zip(checks, answers, strict=True)]
    loose = [passed_loosely(c, said) for c, (said, _) in zip(checks, answers, strict=True)]
    every = [list(zip(c, hits, strict=True)) for c, hits in zip(checks, strict, strict=True)]
    results = [
        share(f"{task.name}/prompts", [float(all(hits)) for hits in strict]),
        _ratio(f"{task.name}/checks", strict),
        _ratio(f"{task.name}/loose", loose),
    ]
    for family in FAMILIES:
        mine = [[hit for check, hit in pairs if check.family == family] for pairs in every]
        if any(mine):
            results.append(_ratio(f"{task.name}/{family}", mine))
    more = [
        {"checks": {check.kind: hit for check, hit in pairs}, "correct": all(hits)}
        for pairs, hits in zip(every, strict, strict=True)
    ]
    return _with_quality(task.name, results, items, answers, more)


def question_answering(task: QuestionAnswering, items: Sequence[Row], subject: Subject) -> Scored:
    expected = [expected_of(item) for item in items]
    answers = _answers(task, items, subject)
    pairs = [(said, wanted) for (said, _), wanted in zip(answers, expected, strict=True)]
    hits = [overlap.exact_match(*pair) for pair in pairs]
    shares = [overlap.f1(*pair) for pair in pairs]
    results = [share(f"{task.name}/exact", hits), share(f"{task.name}/f1", shares)]
    more = [
        {"expected": wanted, "correct": bool(hit), "f1": round(f1, 4)}
        for (_, wanted), hit, f1 in zip(pairs, hits, shares, strict=True)
    ]
    return _with_quality(task.name, results, items, answers, more)


def overlapping(task: Overlap, items: Sequence[Row], subject: Subject) -> Scored:
    """Means over items of each metric, from 0 to 1."""
    measures = {metric: MEASURES[metric]() for metric in task.metrics}
    expected = [expected_of(item) for item in items]
    answers = _answers(task, items, subject)
    values = {
        metric: [measure(said, w) for (said, _), w in zip(answers, expected, strict=True)]
        for metric, measure in measures.items()
    }
    results = [share(f"{task.name}/{metric}", found) for metric, found in values.items()]
    more = [
        {"expected": wanted, **{metric: round(found[n], 4) for metric, found in values.items()}}
        for n, wanted in enumerate(expected)
    ]
    return _with_quality(task.name, results, items, answers, more)


def refusal(task: Refusal, items: Sequence[Row], subject: Subject) -> Scored:
    """``/benign``: refusals of harmless requests; ``/unsafe``: refusals of unsafe ones."""
    answers = _answers(task, items, subject)
    hits = [float(refuses(said)) for said, _ in answers]
    results = []
    for metric, unsafe in (("benign", False), ("unsafe", True)):
        mine = [hit for item, hit in zip(items, hits, strict=True) if item["unsafe"] is unsafe]
        if mine:
            results.append(share(f"{task.name}/{metric}", mine, higher_is_better=unsafe))
    more = [
        {"unsafe": item["unsafe"], "refused": bool(hit)}
        for item, hit in zip(items, hits, strict=True)
    ]
    return _with_quality(task.name, results, items, answers, more)


def open_ended(task: Open, items: Sequence[Row], subject: Subject) -> Scored:
    """Answers to every turn, each turn with the model's own answers before it."""
    asked = [turns_of(item) for item in items]
    history: list[list[Message]] = [[] for _ in items]
    answers: list[list[Answer]] = [[] for _ in items]
    for turn in range(max(map(len, asked))):
        going = [number for number, turns in enumerate(asked) if turn < len(turns)]
        for number in going:
            history[number].append(Message("user", asked[number][turn]))
        prompts = [_prompt(history[n], task.chat, subject.chat) for n in going]
        said = _generated(task, prompts, subject, f"{task.seed}/{turn}")
        for number, answer in zip(going, said, strict=True):
            history[number].append(Message("assistant", answer[0]))
            answers[number].append(answer)
    last = [found[-1] for found in answers]
    more = [
        {"category": item.get("category", "")}
        | ({"turns": turns, "answers": [said for said, _ in found]} if len(turns) > 1 else {})
        for item, turns, found in zip(items, asked, answers, strict=True)
    ]
    rows = [{**item, "prompt": turns[-1]} for item, turns in zip(items, asked, strict=True)]
    return _with_quality(task.name, [], rows, last, more)


def normalise(text: str, strip: Sequence[str] = ()) -> str:
    """NFC, white space runs to one space, final punctuation and the given endings removed."""
    text = re.sub(r"\s+", " ", unicodedata.normalize("NFC", text)).strip().rstrip(".!?。 ")
    for one in strip:
        text = re.sub(one, "", text, count=1).strip()
    return text


def chrf() -> Callable[[str, Sequence[str]], float]:
    """chrF of one answer, from sacreBLEU. Raises EnvironmentFailure where it is not installed."""
    try:
        from sacrebleu.metrics import CHRF
    except ImportError:
        raise EnvironmentFailure(
            "chrF needs sacreBLEU: pip install 'samdan[metrics]', or leave 'chrf' out of 'metrics'"
        ) from None
    metric = CHRF()
    return lambda said, expected: float(metric.sentence_score(said, list(expected)).score) / 100


def _rouge(size: int) -> Callable[[], Callable[[str, Sequence[str]], float]]:
    return lambda: lambda said, expected: overlap.rouge_n(said, expected, size)


# A measure is made once per task: chrF's needs a library.
MEASURES: Final[Mapping[str, Callable[[], Callable[[str, Sequence[str]], float]]]] = {
    "rouge_1": _rouge(1),
    "rouge_2": _rouge(2),
    "rouge_l": lambda: overlap.rouge_l,
    "chrf": chrf,
}


def _answers(task: Any, items: Sequence[Row], subject: Subject) -> list[Answer]:
    prompts = [
        _prompt([Message("user", asked_of(item))], task.chat, subject.chat) for item in items
    ]
    return _generated(task, prompts, subject, "")


def _generated(
    task: Any, prompts: Sequence[Sequence[int]], subject: Subject, key: str
) -> list[Answer]:
    temperature = getattr(task, "temperature", 0.0)
    sampling = Sampling(temperature, task.top_p, key) if temperature else None
    model, chat = subject.scorer.model, subject.chat
    with subject.scorer.precision():
        return generate(model, chat, prompts, task.max_new_tokens, subject.poll, sampling)


def _prompt(messages: Sequence[Message], as_chat: bool, chat: ChatFormat) -> list[int]:
    if as_chat:
        return chat.prompt(tuple(messages))
    start = [] if chat.document_start is None else [chat.document_start]
    return start + chat.encode_text("\n".join(message.content for message in messages))


def _with_quality(
    name: str,
    results: Sequence[EvalResult],
    items: Sequence[Row],
    answers: Sequence[Answer],
    more: Sequence[Mapping[str, Any]],
) -> Scored:
    kept = tuple(
        {"prompt": asked_of(item), "said": said, "stopped": ended, **extra}
        for item, (said, ended), extra in zip(items, answers, more, strict=True)
    )
    everything = (*results, _stops(name, answers), *_quality(name, items, answers))
    return Scored(everything, kept)


def _stops(name: str, answers: Sequence[Answer]) -> EvalResult:
    return share(f"{name}/stops", [float(ended) for _, ended in answers])


def _quality(
    name: str, items: Sequence[Row], answers: Sequence[Answer]
) -> tuple[EvalResult, ...]:
    """Length and refusals have no good direction: what they were before is what counts."""
    asked = [asked_of(item) for item in items]
    found = [quality(prompt, said) for prompt, (said, _) in zip(asked, answers, strict=True)]
    results = [
        share(f"{name}/length", [float(one.length) for one in found], None),
        share(f"{name}/repetition", [one.repetition for one in found], False),
        share(f"{name}/format", [float(one.format) for one in found]),
        share(f"{name}/refusal", [float(one.refusal) for one in found], None),
        share(f"{name}/one_template", _framed([said for said, _ in answers]), None),
    ]
    if any(map(asks_for_korean, asked)):  # by the prompts, so that every model has the same metrics
        results.append(_where_known(f"{name}/hangul", found, lambda one: one.hangul))
        results.append(_where_known(f"{name}/one_level", found, lambda one: one.one_level))
    return tuple(results)


def _framed(answers: Sequence[str]) -> list[float]:
    """Which answers have the template that is commonest among them."""
    return [float(one) for one in commonest(answers)[1]]


def _where_known(
    name: str, found: Sequence[Quality], value: Callable[[Quality], float | None]
) -> EvalResult:
    values = [value(one) for one in found]
    return EvalResult(
        name,
        tuple(float(one or 0.0) for one in values),
        tuple(float(one is not None) for one in values),
        higher_is_better=True,
    )


def _ratio(name: str, hits: Sequence[Sequence[bool]]) -> EvalResult:
    return EvalResult(
        name, tuple(float(sum(row)) for row in hits), tuple(float(len(row)) for row in hits), True
    )
