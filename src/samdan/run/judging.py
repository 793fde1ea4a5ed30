"""`samdan judge`: a run's answers to people and judging models, and what their votes say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samdan.judge.choosing import Chosen, choose
from samdan.judge.store import Votes
from samdan.lm.files import write_text
from samdan.preferences.gate import Preferred, votes_on
from samdan.preferences.summary import comparison, summarise
from samdan.preferences.votes import Pair, Vote, matches, verdicts
from samdan.recipe import AnyStage, Recipe, gates_of
from samdan.records import Comparison, DataError
from samdan.run.answers import answers_of, chosen_models, models_of, seed_of
from samdan.run.ledger import Ledger
from samdan.run.strangers import understood

Say = Callable[[str], None]
EVERY = 1 << 30


@dataclass(frozen=True)
class Judged:
    """A run, the models that are compared, and the pairs of their present answers."""

    ledger: Ledger
    models: tuple[str, ...]
    chosen: Chosen
    seed: int

    @property
    def pairs(self) -> tuple[Pair, ...]:
        return self.chosen.pairs

    def summary(self, votes: Votes) -> dict[str, Any]:
        """What all votes on present answers of these models say; older ones are counted only."""
        possible = {pair.id: pair for pair in self.chosen.possible}
        found = summarise(possible, votes.counting(), self.models, self.seed)
        found["identical"] = [
            {"a": a, "b": b, "prompts": n} for (a, b), n in self.chosen.identical.items()
        ]
        return found


def judged(
    folder: Path,
    models: Sequence[str] = (),
    most: int = EVERY,
    prompts: Sequence[str] | None = None,
) -> Judged:
    """``prompts``: only these. Raises DataError when there is no run or nothing to compare."""
    ledger = Ledger(folder)
    with understood(folder):
        names = chosen_models(ledger, models)
        seed = seed_of(ledger)
        asked = answers_of(ledger)
    if prompts is not None:
        asked = [one for one in asked if one.prompt in set(prompts)]
    chosen = choose(asked, names, most, seed)
    if not chosen.pairs:
        why = "all their answers are identical" if chosen.identical else (
            "they have no answers to the same prompts: give 'samples' or a task that generates in "
            "the recipe, or --prompts FILE"
        )  # fmt: skip
        raise DataError(f"{folder}: nothing to compare between {', '.join(names)}: {why}")
    return Judged(ledger, tuple(names), chosen, seed)


def results(folder: Path, models: Sequence[str] = ()) -> dict[str, Any]:
    """What ``samdan judge report`` tells. Raises DataError without a vote."""
    found = judged(folder, models)
    if not found.ledger.votes().is_file():
        raise DataError(f"{folder}: no votes yet; cast some with: samdan judge serve {folder}")
    with understood(folder), Votes(found.ledger.votes(), read_only=True) as votes:
        return found.summary(votes)


def votes_told(ledger: Ledger) -> dict[str, Any]:
    """The same for report.json; empty where nobody voted, ``unknown`` says what is in the way."""
    if not ledger.votes().is_file():
        return {}
    try:
        return results(ledger.folder)
    except DataError as error:
        return {"unknown": str(error)}


# -- gates -----------------------------------------------------------------------------------------


def vote_comparisons(ledger: Ledger, stage: AnyStage, parent: str) -> dict[str, Comparison]:
    """What people's votes say on a stage against parent and base, for gates that ask for it.

    Only votes on the answers that the models give now. Empty where nobody voted: the gate then
    says how to vote.
    """
    wanted = {gate.over for gate in gates_of(stage) if isinstance(gate, Preferred)}
    if not wanted or not ledger.votes().is_file():
        return {}
    others = {"before": parent, "base": "base"}
    with Votes(ledger.votes(), read_only=True) as votes:
        cast = [vote for vote in votes.counting() if vote.by == "person"]
    asked = answers_of(ledger)
    found = {}
    for over in sorted(wanted):
        possible = choose(asked, [others[over], stage.name], EVERY).possible
        for match in matches({p.id: p for p in possible}, verdicts(cast)):
            found[votes_on(over)] = comparison(votes_on(over), match)
    return found


def vote_fingerprints(ledger: Ledger, recipe: Recipe) -> dict[str, str]:
    """Of the votes, for stages with a gate that reads them: new votes judge the gate again."""
    asking = [s.name for s in recipe.stages if any(isinstance(g, Preferred) for g in gates_of(s))]
    if not asking or not ledger.votes().is_file():
        return {}
    with Votes(ledger.votes(), read_only=True) as votes:
        cast = sorted(repr(vote) for vote in votes.counting() if vote.by == "person")
    digest = hashlib.sha256("\n".join(cast).encode()).hexdigest()[:12]
    return {f"votes/{name}": f"{len(cast)} ({digest})" for name in asking}


# -- export ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Exported:
    """How many pairs were written, and how many were not, by reason."""

    written: int
    undecided: int
    from_tasks: int


def export(folder: Path, out: Path, by: str = "person", with_tasks: bool = False) -> Exported:
    """Writes decided pairs as rows that a dpo stage reads; every pair that was ever judged counts.

    ``by``: "person", or the name of a judging model. ``with_tasks``: also prompts of evaluation
    tasks. They are left out otherwise: who trains on them can no longer measure with them.
    """
    ledger = Ledger(folder)
    models_of(ledger)
    if not ledger.votes().is_file():
        raise DataError(f"{folder}: no votes yet; cast some with: samdan judge serve {folder}")
    with understood(folder), Votes(ledger.votes(), read_only=True) as votes:
        pairs = votes.pairs()
        cast = votes.counting()
    found = verdicts(vote for vote in cast if _voter(vote) == by)
    if not found:
        known = ", ".join(sorted({_voter(vote) for vote in cast}))
        raise DataError(f"--by {by}: no votes; there are votes by: {known or 'nobody'}")
    rows, undecided, tasks = [], 0, 0
    for name, verdict in found.items():
        if verdict.choice not in ("a", "b"):
            undecided += 1
        elif pairs[name].source.startswith("task:") and not with_tasks:
            tasks += 1
        else:
            rows.append(_row(pairs[name], verdict.choice == "a", verdict.votes))
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_text(out, lines)
    return Exported(len(rows), undecided, tasks)


def _voter(vote: Vote) -> str:
    return "person" if vote.by == "person" else vote.rater


def _row(pair: Pair, first: bool, votes: int) -> dict[str, Any]:
    chosen, rejected = (pair.answer_a, pair.answer_b) if first else (pair.answer_b, pair.answer_a)
    models = (pair.a, pair.b) if first else (pair.b, pair.a)
    return {
        "prompt": pair.prompt,
        "chosen": chosen,
        "rejected": rejected,
        "chosen_model": models[0],
        "rejected_model": models[1],
        "votes": votes,
        "prompt_from": pair.source,
    }
