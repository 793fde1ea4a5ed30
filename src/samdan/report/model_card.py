"""The card of an exported model, README.md of its folder: Markdown for the Hugging Face Hub.

Built from report.json and what the export knows of itself. Whatever stems from data or from a
recipe is escaped: names, licences and messages cannot become markup.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from samdan.report.evidence import SYMBOLS
from samdan.report.markup import markdown_text
from samdan.report.model_card_data import (
    UNKNOWN,
    Facts,
    Say,
    code,
    data_lines,
    languages,
    so_far,
    sources_of,
)
from samdan.report.model_card_words import CARD
from samdan.report.numbers import DASH, fixed, mapping, number, plain, sequence, whole
from samdan.report.reading import (
    BASE,
    Change,
    Report,
    Stage,
    bounds,
    change,
    costs,
    fired,
    pair,
    telling,
    verdicts,
)

Language = Literal["en", "ko", "both"]


def model_card(facts: Facts, report: Report, language: Language = "both") -> str:
    """README.md. ``facts``: what the export knows; ``report``: of the run, empty without one."""
    lines = [*_front(facts, report), f"# {markdown_text(facts['name'])}", ""]
    for spoken in ("en", "ko") if language == "both" else (language,):
        if spoken == "ko" and language == "both":
            lines += ["---", "", "# 한국어", ""]
        lines += _body(facts, report, _speaker(spoken))
    return "\n".join(lines).rstrip() + "\n"


def _speaker(code: str) -> Say:
    which = 1 if code == "ko" else 0

    def say(key: str, **values: object) -> str:
        return CARD[key][which].format(**values)

    return say


def _front(facts: Facts, report: Report) -> Iterator[str]:
    """Metadata of the Hub. A JSON string is one of YAML."""
    yield "---"
    yield f"license: {json.dumps(facts.get('licence') or UNKNOWN)}"
    if spoken := languages(so_far(facts, report)):
        yield f"language: {json.dumps(spoken)}"
    if facts.get("base_hub"):
        yield f"base_model: {json.dumps(facts['base_hub'])}"
    yield "pipeline_tag: text-generation"
    yield "library_name: transformers"
    kinds = list(dict.fromkeys(str(s.get("kind")) for s in _told(facts, report)))
    yield f"tags: {json.dumps(['samdan', *kinds], ensure_ascii=False)}"
    learned = [str(stage.get("name")) for stage in so_far(facts, report)]
    hub = sorted(
        str(mapping(source)["hub"])
        for name, source in sources_of(facts).items()
        if mapping(source).get("hub") and str(name).partition("/")[0] in learned
    )
    if hub:
        yield f"datasets: {json.dumps(list(dict.fromkeys(hub)))}"
    yield "---"
    yield ""


def _told(facts: Facts, report: Report) -> list[Stage]:
    """The stages up to the exported one; not a base's own pre-training, unless it is exported."""
    every = so_far(facts, report)
    return [s for s in every if s.get("name") != BASE or facts.get("stage") == BASE]


def _body(facts: Facts, report: Report, say: Say) -> list[str]:
    told = _told(facts, report)
    parts = (
        ("what", _what(facts, told, report, say)),
        ("use", _use(facts, say)),
        ("data", data_lines(facts, report, say)),
        ("recipe", _recipe(told, report, say)),
        ("measured", _measured(told, say)),
        ("rules", _rules(told, say)),
        ("limits", _limits(facts, told, report, say)),
        ("licence", _licence(facts, say)),
        ("same", _same(facts, say)),
    )
    lines: list[str] = []
    for key, content in parts:
        if found := list(content):
            lines += [f"## {say(key)}", "", *found, ""]
    return lines


def _what(facts: Facts, told: Sequence[Stage], report: Report, say: Say) -> Iterator[str]:
    known = {"parameters": whole(number(facts.get("parameters"))), "version": facts["version"]}
    if told:
        kinds = [f"{code(s.get('name'))} {_kind(s, say)}" for s in told]
        yield say("made", **known, base=_base(facts, say), stages=", ".join(kinds),
                  stage=markdown_text(facts.get("stage")))  # fmt: skip
    else:
        yield say("made.alone", **known)
    yield ""
    yield say(
        "facts",
        dtype=facts["dtype"],
        tensors=whole(number(facts.get("tensors"))),
        positions=whole(number(facts.get("positions"))),
        vocabulary=whole(number(facts.get("vocabulary"))),
    )
    if length := _longest(told):
        yield say("trained.length", length=whole(length))
    if facts.get("as_llama"):
        yield ""
        yield say("as_llama")
    if told:
        yield ""
        yield _gate(facts, told, say)
        if all(stage.get("kind") == "cpt" for stage in told):
            yield say("no_chat")


def _kind(stage: Stage, say: Say) -> str:
    key = f"kind.{stage.get('kind')}"
    return say(key) if key in CARD else markdown_text(stage.get("kind"))


def _base(facts: Facts, say: Say) -> str:
    if facts.get("scratch"):
        return say("random")
    named = facts.get("base_hub") or facts.get("base_name")
    return code(named) if named else say("unnamed")


def _token(value: object) -> str:
    """A token in running text, where a bar is no table's."""
    shown = str(value)
    return f"`{shown}`" if shown.isprintable() and "`" not in shown else markdown_text(value)


def _longest(told: Sequence[Stage]) -> float | None:
    lengths = [number(mapping(stage.get("settings")).get("max_length")) for stage in told]
    return max((length for length in lengths if length), default=None)


def _gate(facts: Facts, told: Sequence[Stage], say: Say) -> str:
    if why := facts.get("not_passed"):
        return say("gate.failed", why=markdown_text(why))
    judged = any(verdicts(stage, "gates") for stage in told)
    return say("gate.passed" if judged else "gate.none")


def _use(facts: Facts, say: Say) -> Iterator[str]:
    place = json.dumps(facts["place"], ensure_ascii=False)
    yield "```python"
    yield "from transformers import AutoModelForCausalLM, AutoTokenizer"
    yield ""
    yield f"tokenizer = AutoTokenizer.from_pretrained({place})"
    yield f'model = AutoModelForCausalLM.from_pretrained({place}, dtype="auto")'
    if facts.get("chat"):
        yield 'messages = [{"role": "user", "content": "..."}]'
        yield "inputs = tokenizer.apply_chat_template("
        yield '    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True'
        yield ")"
    else:
        yield 'inputs = tokenizer("...", return_tensors="pt")'
    yield "output = model.generate(**inputs)"
    yield 'answer = output[0, inputs["input_ids"].shape[1]:]'
    yield "print(tokenizer.decode(answer, skip_special_tokens=True))"
    yield "```"
    yield ""
    yield "```"
    yield str(facts["vllm"])
    yield str(facts["ollama"])
    yield "```"
    yield ""
    if facts.get("chat"):
        yield say("use.ends", ends=", ".join(_token(end) for end in sequence(facts.get("ends"))))
    if facts.get("greedy"):
        yield say("use.greedy")


def _recipe(told: Sequence[Stage], report: Report, say: Say) -> Iterator[str]:
    if not told:
        return
    settings = [mapping(stage.get("settings")) for stage in told]
    names = list(dict.fromkeys(key for one in settings for key in one))
    heads = " | ".join(code(stage.get("name")) for stage in told)
    yield f"| {say('recipe.head')} | {heads} |"
    yield "|---" * (len(told) + 1) + "|"
    for name in names:
        cells = (markdown_text(plain(one[name])) if name in one else DASH for one in settings)
        yield f"| {code(name)} | {' | '.join(cells)} |"
    tokens = (whole(number(mapping(s.get("tokens")).get("seen"))) for s in told)
    yield f"| tokens | {' | '.join(tokens)} |"
    yield f"| steps | {' | '.join(whole(number(s.get('steps'))) for s in told)} |"
    yield ""
    yield say("recipe.seed", seed=report.get("seed"))
    for note in sequence(report.get("notes")):
        yield f"- {markdown_text(note)}"


def _measured(told: Sequence[Stage], say: Say) -> Iterator[str]:
    if not told:
        return
    if not any(mapping(stage.get("metrics")) for stage in told):
        yield say("measured.none")
        return
    yield say("measured.how")
    for stage in told:
        found = mapping(stage.get("metrics"))
        if not found:
            continue
        yield ""
        yield f"### {code(stage.get('name'))}"
        yield ""
        yield say("measured.head")
        yield "|---|---:|---:|---:|---:|---:|---:|"
        kept = telling([change(str(n), mapping(m), "before") for n, m in found.items()])
        for one in kept:
            yield _metric(one, mapping(found[one.metric]))


def _metric(before: Change, metric: Mapping[str, Any]) -> str:
    base = change(before.metric, metric, "base")
    decimals = max(before.decimals, base.decimals)
    low, high = pair(mapping(metric.get("ci95")).get("after"))
    cells = (
        markdown_text(before.metric),
        fixed(base.old, decimals),
        fixed(before.old, decimals),
        f"**{fixed(before.new, decimals)}** {bounds(low, high, decimals)}".strip(),
        _judged(before),
        _judged(base),
        whole(number(metric.get("n"))),
    )
    return f"| {' | '.join(cells)} |"


def _judged(one: Change) -> str:
    symbol = SYMBOLS[one.direction]
    return f"{one.shown} {one.interval} {symbol}".replace("  ", " ") if one.interval else DASH


def _rules(told: Sequence[Stage], say: Say) -> Iterator[str]:
    rows = [
        f"| {code(stage.get('name'))} | {markdown_text(row.get('rule'))} | "
        f"{plain(row.get('value'))} | {plain(row.get('limit'))} | "
        f"**{say('rules.fired')}**: {markdown_text(row.get('message'))} |"
        for stage in told
        for row in fired([*verdicts(stage, "rules"), *verdicts(stage, "gates")])
    ]
    again = [stage for stage in told if (number(stage.get("attempts")) or 1) > 1]
    if rows:
        yield say("rules.head")
        yield "|---|---|---:|---:|---|"
        yield from rows
    elif told and not again:
        yield say("rules.none")
    for stage in again:
        yield ""
        n = whole(number(stage.get("attempts")))
        yield say("rules.attempts", stage=markdown_text(stage.get("name")), n=n)
        for row in sequence(stage.get("history")):
            past = mapping(row)
            named = ", ".join(str(mapping(r).get("rule", r)) for r in sequence(past.get("rules")))
            shown = markdown_text(past.get("changes"))
            yield f"- {markdown_text(past.get('attempt'))}: {markdown_text(named)} → {shown}"


def _limits(facts: Facts, told: Sequence[Stage], report: Report, say: Say) -> Iterator[str]:
    if any(mapping(stage.get("metrics")) for stage in told):
        worse = costs({**report, "stages": list(told)})
        if worse:
            named = (f"{markdown_text(c.metric)} {c.shown} {c.interval}" for c in worse)
            yield "- " + say("limits.worse", metrics="; ".join(named))
        else:
            yield "- " + say("limits.not_worse")
    yield "- " + say("limits.wrong")
    what = [say("untested.measured")]
    measured = " ".join(str(name) for stage in told for name in mapping(stage.get("metrics")))
    if "refus" not in measured and "unsafe" not in measured:
        what.append(say("untested.safety"))
    what += [say("untested.bias"), say("untested.attack"), say("untested.tools")]
    if length := _longest(told):
        what.append(say("untested.long", length=whole(length)))
    if spoken := languages(so_far(facts, report)):
        what.append(say("untested.languages", languages=", ".join(spoken)))
    yield "- " + say("untested", what="; ".join(what))


def _licence(facts: Facts, say: Say) -> Iterator[str]:
    if facts.get("scratch"):
        yield say("licence.scratch")
    elif facts.get("base_licence"):
        yield say("licence.base", licence=markdown_text(facts["base_licence"]))
    else:
        yield say("licence.base_unknown")
    yield say("licence.data")


def _same(facts: Facts, say: Say) -> Iterator[str]:
    check = mapping(facts.get("check"))
    exact, written = mapping(check.get("fp32")), mapping(check.get("as_written"))
    if not check or not exact:
        return
    rounded = ""
    if facts["dtype"] != "float32":
        shown = {key: _share(written.get(key)) for key in ("rms", "limit")}
        rounded = say("same.written", dtype=facts["dtype"], **shown)
    yield say(
        "same.yes",
        tensors=whole(number(check.get("tensors"))),
        texts=whole(number(check.get("texts"))),
        positions=whole(number(exact.get("positions"))),
        rms=_share(exact.get("rms")),
        limit=_share(exact.get("limit")),
        written=rounded,
        largest=_share(written.get("largest")),
        top=f"{number(written.get('same_top')) or 0:.1%}",
    )


def _share(value: object) -> str:
    found = number(value)
    return DASH if found is None else f"{found:.2g}"
