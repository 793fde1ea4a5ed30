"""What went in: token accounting per source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from samdan.report.card import cards
from samdan.report.charts import bars
from samdan.report.evidence import section, stage_heading
from samdan.report.markup import NOTHING, Html, bdi, figure, join, tag, text
from samdan.report.numbers import DASH, mapping, number, whole
from samdan.report.reading import Balance, Report, Stage, balance, sources, stages, total
from samdan.report.table import Cell, column, table
from samdan.report.words import known, say

PARTS = ("in", "repeated", "trained", "masked", "dropped")


def data(report: Report) -> Html:
    counted = [stage for stage in stages(report) if sources(stage)]
    if not counted:
        return section("data", tag("p", say("data.none"), cls="soft"))
    how = tag("p", say("data.how"), cls="soft small")
    swatches = (
        tag("span", tag("span", cls=f"swatch f-{part}", aria_hidden="true"), say(part))
        for part in PARTS
    )
    legend = tag("p", *swatches, cls="legend")
    return section("data", how, legend, *map(_stage_data, counted), cards(report))


def _stage_data(stage: Stage) -> Html:
    found = {str(name): mapping(source) for name, source in sources(stage).items()}
    accounts = {name: balance(source) for name, source in found.items()}
    longest = max(max(map(sum, _parts(account))) for account in accounts.values())
    columns = (
        column("source", "head"),
        column("flow", "bar wide bare"),
        *(column(part, "num lost" if part == "dropped" else "num") for part in PARTS),
        column("adds", "num"),
    )
    rows = [_row(name, found[name], accounts[name], longest) for name in found]
    off = any(account.off not in (None, 0.0) for account in accounts.values())
    warning = tag("p", say("adds.warning"), cls="bad", role="alert") if off else NOTHING
    parts = (
        stage_heading(stage),
        warning,
        table(say("data"), columns, rows),
        _stage_dropped(stage),
    )
    return join(parts)


def _row(
    name: str, source: Mapping[str, Any], account: Balance, longest: float
) -> list[Html | Cell]:
    incoming, outgoing = _parts(account)
    cells = [list(zip((f"f-{part}" for part in names), sizes, strict=True))
             for names, sizes in ((PARTS[:2], incoming), (PARTS[2:], outgoing))]  # fmt: skip
    role = (
        tag("span", known("role", source["role"]), cls="small") if source.get("role") else NOTHING
    )
    return [
        join((bdi(name), role, _records(source))),
        bars(name, cells, longest),
        *(_count(source, part) for part in PARTS[:4]),
        join((figure(whole(account.dropped)), _why(source.get("dropped")))),
        _adds(account),
    ]


def _parts(account: Balance) -> tuple[Sequence[float], Sequence[float]]:
    incoming = (account.given or 0.0, account.repeated)
    return incoming, (account.trained or 0.0, account.masked, account.dropped)


def _count(source: Mapping[str, Any], part: str) -> Html:
    return figure(whole(number(source.get(part))))


def _adds(account: Balance) -> Html | Cell:
    if account.off is None:
        return text(DASH)
    if account.off:
        gap = figure(f"{account.off:+,.0f}")
        return Cell(tag("b", text("\u2717 "), say("adds.no", n=gap), cls="bad"), "warn")
    return tag("span", text("\u2713 "), say("adds.yes"), cls="good")


def _records(source: Mapping[str, Any]) -> Html:
    given, dropped = number(source.get("records_in")), total(source.get("records_dropped"))
    if given is None:
        return NOTHING
    parts = [tag("span", say("records", n=text(whole(given))))]
    if dropped:
        reasons = _why(source.get("records_dropped"), "span")
        lost = join((say("records.dropped", n=text(whole(dropped))), text(" "), reasons))
        parts.append(tag("span", lost))
    return tag("span", *parts, cls="small dots")


def _why(dropped: object, around: str = "div") -> Html:
    """``reason n`` for every reason, the largest first."""
    reasons = [(str(name), number(count) or 0.0) for name, count in mapping(dropped).items()]
    ordered = sorted((pair for pair in reasons if pair[1]), key=lambda pair: -pair[1])
    if not ordered:
        return NOTHING
    listed = text(", ".join(f"{name} {whole(count)}" for name, count in ordered))
    return tag("span", text("("), listed, text(")"), cls="small" if around == "div" else None)


def _stage_dropped(stage: Stage) -> Html:
    """What was dropped, where it is more than what the sources say."""
    dropped = mapping(stage.get("tokens")).get("dropped")
    if total(dropped) == sum(balance(mapping(one)).dropped for one in sources(stage).values()):
        return NOTHING
    reasons = _why(dropped, "span")
    if not reasons:
        return NOTHING
    return tag("p", say("stage.dropped"), text(" "), reasons, cls="soft small")
