"""Hits and false alarms of every rule, and what the responses help.

python -m experiments.rules HOME [--only CASE ...] [--seeds 1 2 ...] [--histories 300] [--write]

In HOME: the demo's models; per case a run made to go wrong with its rule watching and one without
(``experiments/rule_cases.py``); ordinary runs over seeds; and histories resampled from these
(``experiments/rule_alarms.py``). What is finished is not done again. ``--write`` puts the results
into ``docs/rules.json`` and the tables into ``docs/rules.md``, between the marks. About 40 minutes
on one core.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.rule_alarms import alarms, read
from experiments.rule_cases import CASES
from experiments.rule_runs import carry_out, carry_out_ordinary, is_done
from samdan.preferences.intervals import exact

DOCS = Path(__file__).resolve().parents[1] / "docs"
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
Row = Mapping[str, Any]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("home", type=Path)
    arguments.add_argument("--only", nargs="*", default=None, help="these cases, nothing else")
    parts = ["cases", "ordinary", "alarms", "tables"]
    arguments.add_argument("--part", choices=parts, help="only this; tables: of what is finished")
    arguments.add_argument("--seeds", type=int, nargs="*", default=list(range(1, 11)))
    arguments.add_argument("--histories", type=int, default=300)
    arguments.add_argument("--write", action="store_true")
    given = arguments.parse_args()
    home = given.home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("SAMDAN_CACHE", str(home / "cache"))
    wanted = [case for case in CASES if given.only is None or case.name in given.only]
    cases = []
    for case in wanted if given.part in (None, "cases", "tables") else ():
        if given.part == "tables" and not is_done(case, home):
            continue
        cases.append(carry_out(case, home))
        print(case_row(cases[-1]), flush=True)
    if given.only is not None or given.part == "cases":
        return
    if given.part == "alarms":
        _alarms(home, given)
        return
    ordinary = []
    for seed in given.seeds:
        ordinary.append(carry_out_ordinary(seed, home))
        print(json.dumps(ordinary[-1], ensure_ascii=False)[:300], flush=True)
    if given.part == "ordinary":
        return
    found = {"cases": cases, "ordinary": ordinary, "alarms": _alarms(home, given)}
    text = "\n".join(tables(found))
    print(text)
    if given.write:
        write(found, text)


def _alarms(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    kept = home / f"alarms-{given.histories}.json"
    if kept.is_file():
        found: dict[str, Any] = json.loads(kept.read_text("utf-8"))
        return found
    folders = [home / "ordinary" / f"seed-{seed}" for seed in given.seeds]
    curves = [curve for folder in folders for curve in read(folder)]
    found = alarms(curves, given.histories)
    kept.write_text(json.dumps(found), "utf-8")
    return found


def write(found: Mapping[str, Any], text: str) -> None:
    numbers = json.dumps(found, ensure_ascii=False, indent=1)
    (DOCS / "rules.json").write_text(numbers + "\n", "utf-8")
    page = (DOCS / "rules.md").read_text("utf-8")
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    (DOCS / "rules.md").write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", "utf-8")


def tables(found: Mapping[str, Any]) -> Iterator[str]:
    """The Markdown tables of docs/rules.md."""
    yield "| rule | what goes wrong | fires | response | metric | before | without | with |"
    yield "|---|---|---|---|---|---|---|---|"
    yield from map(case_row, found["cases"])
    yield ""
    yield "| rule | ordinary stages | resampled histories | 95% upper bound |"
    yield "|---|---|---|---|"
    yield from alarm_rows(found["alarms"], found["ordinary"])


def case_row(row: Row) -> str:
    cells = [
        f"`{row['rule']}`",
        row["wrong"],
        _fires(row),
        _responses(row),
        f"`{row['metric']}`" if row["metric"] else "",
        *_values(row),
    ]
    return f"| {' | '.join(cells)} |"


def _fires(row: Row) -> str:
    if not row["fired"]:
        return "**no**"
    if row["rule"] == "skip_spikes":
        return f"{row['skipped']} of {row['steps']} updates"
    if row["rule"] == "keep_best":
        return f"step {row['kept_step']} of {row['steps']}"
    if row["at"] is not None:
        return f"at step {row['at']}"
    return "the run stops" if row["rule"] == "non_finite" else "after the stage"


def _responses(row: Row) -> str:
    names = [name for change in row["responses"] for name in change["responses"]]
    kept = f" (attempt {row['kept_attempt'][-1]} is kept)" if row["kept_attempt"] else ""
    return ", ".join(f"`{name}`" for name in names) + kept or "none"


def _values(row: Row) -> list[str]:
    """Before, without the rule, with it; and what the difference says."""
    if not row["metric"]:
        return ["", "", ""]
    without = _number(row["without"])
    if row.get("with") is None:
        return ["", without, "no model"]
    low, high = row["difference"]
    return [
        _number(row["before"]),
        without,
        f"{_number(row['with'])} [{low:+.3g}, {high:+.3g}] {helped(row)}",
    ]


def helped(row: Row) -> str:
    """Whether the difference is certain and in the good direction."""
    low, high = row["difference"]
    if low <= 0 <= high:
        return "unclear"
    return "helps" if (low > 0) == row["better"] else "**harms**"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def alarm_rows(found: Row, ordinary: Sequence[Row]) -> Iterator[str]:
    for row in found["monitors"]:
        n, k = row["histories"], row["fired_histories"]
        bound = f"{exact(k, n, 0.9)[1]:.1%}" if n else ""
        said = ", ".join(row["fired_in"])
        fired = f"{len(row['fired_in'])} of {row['stages']}" + (f" ({said})" if said else "")
        yield f"| `{row['rule']}` | {fired} | {k} of {n} | {bound} |"
    skips = found["skips"]
    yield (f"| `skip_spikes` | {skips['skipped']} of {skips['updates']:,} updates | "
           f"{skips['history_skipped']} of {skips['history_updates']:,} updates | |")  # fmt: skip
    gates: dict[str, list[bool]] = {}
    for run in ordinary:
        for verdict in run["gates"]:
            gates.setdefault(verdict["rule"], []).append(verdict["fired"])
    for name, verdicts in gates.items():
        bound = f"{exact(sum(verdicts), len(verdicts), 0.9)[1]:.0%}"
        yield f"| `{name}` | {sum(verdicts)} of {len(verdicts)} | | {bound} |"


if __name__ == "__main__":
    main()
