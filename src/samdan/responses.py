"""Responses: what the firing of a rule changes in its stage before the stage goes again.

A response is a spec that can be called with the stage's fields and the verdict. It returns the
fields that it changes and their new values (of ``data`` by source label, of ``dedup`` those that
change), or None where it has no room left: every response is bounded. To add one: write a class
with a ``kind``, documented bounds and ``__call__``, and name it in ``Response``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from samdan.records import Verdict
from samdan.spec import Positive, Share, Spec

Fields = Mapping[str, Any]
_RATES = ("learning_rate", "embedding_lr", "lm_head_lr", "new_rows_lr", "new_layers_lr")
_NORMALISED = ("ipo", "sigmoid_norm")  # losses in which beta is of another scale

Factor = Annotated[float, Field(strict=True, gt=1)]


class LowerRate(Spec):
    """All learning rates times ``factor``.

    ``back_to``: ``start`` trains the stage again from its parent's model; ``checkpoint`` goes on
    from the newest checkpoint before the trouble began.
    """

    kind: Literal["lower_rate"] = "lower_rate"
    factor: Annotated[float, Field(strict=True, gt=0, lt=1)] = 0.5
    back_to: Literal["start", "checkpoint"] = "start"

    def __call__(self, stage: Fields, verdict: Verdict) -> dict[str, Any]:
        changed: dict[str, Any] = {n: stage[n] * self.factor for n in _RATES if stage.get(n)}
        if stage["lr_groups"]:
            groups: Mapping[str, float] = stage["lr_groups"]
            changed["lr_groups"] = {name: rate * self.factor for name, rate in groups.items()}
        return changed


class FewerEpochs(Spec):
    """The stage ends where it was best, or after ``factor`` of its epochs where that is unknown.

    It is trained again from its parent's model, so that the schedule ends there too.
    """

    kind: Literal["fewer_epochs"] = "fewer_epochs"
    factor: Annotated[float, Field(strict=True, gt=0, lt=1)] = 0.5

    def __call__(self, stage: Fields, verdict: Verdict) -> dict[str, Any] | None:
        if verdict.since:
            return {"max_steps": verdict.since}
        if stage["max_steps"]:
            steps = int(stage["max_steps"] * self.factor)
            return {"max_steps": steps} if steps else None
        return {"num_train_epochs": stage["num_train_epochs"] * self.factor}


class MoreReplay(Spec):
    """The share of replay sources times ``factor``, at least ``at_least``, up to ``at_most``.

    Ibrahim et al. 2403.08763: of what a change of language costs, 1% of replay saves 53%, 5% saves
    71%, 25% saves 88%; so small shares are not raised in small steps.
    """

    kind: Literal["more_replay"] = "more_replay"
    factor: Factor = 2.0
    at_least: Share = 0.25
    at_most: Share = 0.5

    def __call__(self, stage: Fields, verdict: Verdict) -> dict[str, Any] | None:
        replay = [source for source in stage["data"] if source["role"] == "replay"]
        if not replay:
            return None
        if any(source["epochs"] for source in replay):
            return {"data": {_label(s): {"epochs": s["epochs"] * self.factor} for s in replay}}
        total = sum(source["weight"] or 0 for source in stage["data"])
        mine = sum(source["weight"] or 0 for source in replay)
        share = mine / total if total else stage["replay"]
        wanted = min(self.at_most, max(self.at_least, share * self.factor))
        if wanted <= share:
            return None
        if not total:
            return {"replay_share": wanted}
        scale = wanted / (1 - wanted) * (total - mine) / mine
        return {"data": {_label(source): {"weight": source["weight"] * scale} for source in replay}}


class MoreDropout(Spec):
    """Residual dropout plus ``add``, up to ``at_most`` (InstructGPT's SFT used 0.2)."""

    kind: Literal["more_dropout"] = "more_dropout"
    add: Positive = 0.1
    at_most: Share = 0.3

    def __call__(self, stage: Fields, verdict: Verdict) -> dict[str, Any] | None:
        wanted = min(self.at_most, stage["dropout"] + self.add)
        return {"dropout": wanted} if wanted > stage["dropout"] else None


class CapTemplates(Spec):
    """No template of answers makes up more than ``at_most`` of an SFT stage's conversations.

    A template is how an answer opens or closes, in which form (``samdan.answers.template``). Has no
    room where none is that common, or where there are too few kinds of answers to reach it.
    """

    kind: Literal["cap_templates"] = "cap_templates"
    at_most: Annotated[float, Field(strict=True, gt=0, lt=1)] = 0.3

    def __call__(self, stage: Fields, verdict: Verdict) -> dict[str, Any] | None:
        if stage["kind"] != "sft" or (stage["max_template_share"] or 1.0) <= self.at_most:
            return None
        counted: Fields = stage.get("templates") or {"largest": 1.0, "least": 0.0}
        if not counted["least"] <= self.at_most < counted["largest"]:
            return None
        return {"max_template_share": self.at_most}


class Rebalance(Spec):
    """Sources whose own metrics fell get ``factor`` times their weight.

    A source is meant by a metric whose name begins with its label; ``sources`` adds what a task
    stands for: ``{manners: [dialogues]}``.
    """

    kind: Literal["rebalance"] = "rebalance"
    factor: Factor = 2.0
    sources: dict[str, tuple[str, ...]] = Field(default_factory=dict)

    def __call__(self, stage: Fields, verdict: Verdict) -> dict[str, Any] | None:
        about = {name.rpartition("/")[0] for name in verdict.about}
        meant = about | {label for name in about for label in self.sources.get(name, ())}
        chosen = [source for source in stage["data"] if _label(source) in meant]
        if not chosen or len(chosen) == len(stage["data"]):
            return None  # nothing to raise, or nothing to raise it against
        if all(source["weight"] for source in stage["data"]):
            return {"data": {_label(s): {"weight": s["weight"] * self.factor} for s in chosen}}
        epochs = stage["num_train_epochs"]
        return {
            "data": {_label(s): {"epochs": (s["epochs"] or epochs) * self.factor} for s in chosen}
        }


class RaiseBeta(Spec):
    """Holds the model closer to its reference: beta times ``factor``, up to ``at_most``."""

    kind: Literal["raise_beta"] = "raise_beta"
    factor: Factor = 2.0
    at_most: Positive = 0.2

    def __call__(self, stage: Fields, verdict: Verdict) -> dict[str, Any] | None:
        if stage["loss_type"] in _NORMALISED:
            return None
        wanted = min(self.at_most, stage["beta"] * self.factor)
        return {"beta": wanted} if wanted > stage["beta"] else None


class AddNll(Spec):
    """A negative log-likelihood term on the chosen answers (RPO, 2404.19733: weight 1)."""

    kind: Literal["add_nll"] = "add_nll"
    weight: Positive = 1.0

    def __call__(self, stage: Fields, verdict: Verdict) -> dict[str, Any] | None:
        return {"nll_weight": self.weight} if stage["nll_weight"] < self.weight else None


class NormaliseLength(Spec):
    """The length-normalised loss, with a beta of its own scale (Tulu 3, 2411.15124: 5)."""

    kind: Literal["normalise_length"] = "normalise_length"
    beta: Positive = 5.0

    def __call__(self, stage: Fields, verdict: Verdict) -> dict[str, Any] | None:
        if stage["loss_type"] in _NORMALISED:
            return None
        return {"loss_type": "sigmoid_norm", "beta": self.beta, "label_smoothing": 0.0}


class DiversifyPairs(Spec):
    """Leaves out near copies of pairs, and pairs whose chosen answer refuses a harmless prompt."""

    kind: Literal["diversify_pairs"] = "diversify_pairs"
    threshold: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.8
    """Estimated similarity from which a pair counts as a copy of an earlier one."""

    def __call__(self, stage: Fields, verdict: Verdict) -> dict[str, Any] | None:
        changed: dict[str, Any] = {}
        dedup: Fields = stage["dedup"] or {}
        if not dedup.get("near"):
            changed["dedup"] = {"near": True, "threshold": self.threshold}
        ready = [source for source in stage["data"] if not source["drop_refusals"]]
        if ready:
            changed["data"] = {_label(source): {"drop_refusals": True} for source in ready}
        return changed or None


Response = Annotated[
    LowerRate | FewerEpochs | MoreReplay | MoreDropout | CapTemplates | Rebalance | RaiseBeta
    | AddNll | NormaliseLength | DiversifyPairs,
    Field(discriminator="kind"),
]  # fmt: skip
Responses = tuple[Response, ...]


class Rule(Spec):
    """What monitors and gates share."""

    respond: Responses | None = None
    """What is tried when it fires, one after the other, each once; absent: the rule's defaults for
    the stage's kind; empty: nothing, the run stops."""

    @property
    def measures(self) -> tuple[str, ...]:
        """The metrics of the recipe's sources and tasks that it reads."""
        return ()


def _label(source: Fields) -> str:
    return str(source["label"])


# By the rule's and the stage's kind, in the order in which they are tried (docs/rules.md says why).
DEFAULTS: Mapping[tuple[str, str], Responses] = {
    ("rebound", "cpt"): (FewerEpochs(), LowerRate()),
    ("forgetting", "cpt"): (MoreReplay(), LowerRate()),
    ("retained", "cpt"): (MoreReplay(), LowerRate()),
    ("loss_spike", "cpt"): (LowerRate(back_to="checkpoint"),),
    ("loss_spike", "sft"): (LowerRate(back_to="checkpoint"),),
    ("loss_spike", "dpo"): (LowerRate(back_to="checkpoint"),),
    ("unstable", "cpt"): (LowerRate(back_to="checkpoint"),),
    ("unstable", "sft"): (LowerRate(back_to="checkpoint"),),
    ("unstable", "dpo"): (LowerRate(back_to="checkpoint"),),
    ("drifted", "sft"): (CapTemplates(), MoreDropout(), FewerEpochs()),
    ("unbalanced", "sft"): (Rebalance(),),
    ("refusing", "dpo"): (DiversifyPairs(), RaiseBeta()),
    ("displaced", "dpo"): (AddNll(), RaiseBeta()),
    ("displacing", "dpo"): (AddNll(), RaiseBeta()),
    ("diverging", "dpo"): (RaiseBeta(), LowerRate()),
    ("drifted", "dpo"): (NormaliseLength(), RaiseBeta()),
}


def responses_of(rule: Rule, stage_kind: str) -> Responses:
    """What is tried when the rule fires in a stage of this kind."""
    if rule.respond is not None:
        return rule.respond
    return DEFAULTS.get((str(getattr(rule, "kind", "")), stage_kind), ())


def first_with_room(
    rule: Rule, verdict: Verdict, stage_kind: str, stage: Fields, spent: Sequence[Any]
) -> tuple[Response, dict[str, Any]] | None:
    """The first response not yet ``spent`` (dumped) on this stage that can change something."""
    for response in responses_of(rule, stage_kind):
        if response.model_dump(mode="json") in spent:
            continue
        changed = response(stage, verdict)
        if changed:
            return response, changed
    return None
