"""What responses change, and that every one of them comes to an end."""

from __future__ import annotations

from typing import Any

import pytest

from samdan.recipe import CptStage, DpoStage, SftStage, Source
from samdan.records import Verdict
from samdan.responses import (
    DEFAULTS,
    AddNll,
    CapTemplates,
    DiversifyPairs,
    FewerEpochs,
    LowerRate,
    MoreDropout,
    MoreReplay,
    NormaliseLength,
    RaiseBeta,
    Rebalance,
    first_with_room,
    responses_of,
)
from samdan.rules import Rebound, Refusing, Retained
from samdan.run.accepted import changed, shown
from samdan.run.responding import fields_of

DOCS = Source(path="docs.jsonl")
OLD = Source(path="old.jsonl", role="replay")
FIRED = Verdict("x", True, 1.0, 0.0, "it fired")


def cpt(**fields: Any) -> CptStage:
    return CptStage(**({"data": (DOCS, OLD)} | fields))


def dpo(**fields: Any) -> DpoStage:
    return DpoStage(**({"data": (DOCS,)} | fields))


def test_lower_rate_lowers_every_rate_that_is_set() -> None:
    stage = cpt(embedding_lr=2e-6, lr_groups={"norm": 1e-4})
    found = LowerRate(factor=0.5)(fields_of(stage), FIRED)
    assert found == {"learning_rate": 5e-6, "embedding_lr": 1e-6, "lr_groups": {"norm": 5e-5}}
    lower = changed(stage, found)
    assert lower.learning_rate == 5e-6
    assert lower.lm_head_lr is None


def test_fewer_epochs_ends_at_the_best_step_or_earlier() -> None:
    best = Verdict("x", True, 1.0, 0.0, "it fired", since=120)
    assert FewerEpochs()(fields_of(cpt()), best) == {"max_steps": 120}
    assert FewerEpochs()(fields_of(cpt()), FIRED) == {"num_train_epochs": 1.0}
    assert FewerEpochs()(fields_of(cpt(max_steps=11)), FIRED) == {"max_steps": 5}
    assert FewerEpochs()(fields_of(cpt(max_steps=1)), FIRED) is None


@pytest.mark.parametrize(
    ("sources", "more", "wanted"),
    [
        ((DOCS, OLD), {"replay_share": 0.02}, {"replay_share": 0.25}),
        ((DOCS, OLD), {"replay_share": 0.2}, {"replay_share": 0.4}),
        ((DOCS, OLD), {}, {"replay_share": 0.5}),  # from the default of a new language
        ((DOCS, OLD), {"replay_share": 0.5}, None),
        ((DOCS,), {}, None),
        (
            (DOCS.model_copy(update={"weight": 0.8}), OLD.model_copy(update={"weight": 0.2})),
            {},
            {"data": {"old": {"weight": pytest.approx(0.8 * 0.4 / 0.6)}}},
        ),
        (
            (DOCS, OLD.model_copy(update={"epochs": 1.0})),
            {},
            {"data": {"old": {"epochs": 2.0}}},
        ),
    ],
)
def test_more_replay(sources: Any, more: dict[str, Any], wanted: Any) -> None:
    assert MoreReplay()(fields_of(cpt(data=sources, **more)), FIRED) == wanted


def test_more_replay_by_weight_is_the_share_that_was_meant() -> None:
    docs, old = (s.model_copy(update={"weight": w}) for s, w in ((DOCS, 0.8), (OLD, 0.2)))
    stage = cpt(data=(docs, old))
    found = MoreReplay()(fields_of(stage), FIRED)
    assert found is not None
    weights = [source.weight for source in changed(stage, found).data]
    assert weights[1] / sum(weights) == pytest.approx(0.4)


def test_more_dropout_up_to_its_bound() -> None:
    stage = SftStage(data=(DOCS,), dropout=0.25)
    assert MoreDropout()(fields_of(stage), FIRED) == {"dropout": 0.3}
    assert MoreDropout()(fields_of(changed(stage, {"dropout": 0.3})), FIRED) is None


def test_rebalance_raises_what_fell_against_the_rest() -> None:
    about = Verdict("unbalanced", True, 1.0, 0.0, "", about=("old/bpb", "manners/share"))
    stage = SftStage(data=(DOCS, Source(path="old.jsonl"), Source(path="talk.jsonl")))
    rebalance = Rebalance(sources={"manners": ("talk",)})
    assert rebalance(fields_of(stage), about) == {
        "data": {"old": {"epochs": 6.0}, "talk": {"epochs": 6.0}}
    }
    assert Rebalance()(fields_of(stage), FIRED) is None
    one = SftStage(data=(Source(path="old.jsonl"),))
    assert Rebalance()(fields_of(one), about) is None


def test_beta_goes_up_to_its_bound_and_not_where_it_means_something_else() -> None:
    assert RaiseBeta()(fields_of(dpo()), FIRED) == {"beta": 0.2}
    assert RaiseBeta()(fields_of(dpo(beta=0.15)), FIRED) == {"beta": 0.2}
    assert RaiseBeta()(fields_of(dpo(beta=0.2)), FIRED) is None
    assert RaiseBeta()(fields_of(dpo(loss_type="sigmoid_norm", beta=5.0)), FIRED) is None


def test_the_loss_is_changed_once() -> None:
    stage = dpo(loss_type="robust", label_smoothing=0.1)
    found = NormaliseLength()(fields_of(stage), FIRED)
    assert found is not None
    other = changed(stage, found)
    assert isinstance(other, DpoStage)
    assert (other.loss_type, other.beta) == ("sigmoid_norm", 5.0)
    assert NormaliseLength()(fields_of(other), FIRED) is None
    assert AddNll()(fields_of(dpo()), FIRED) == {"nll_weight": 1.0}
    assert AddNll()(fields_of(dpo(nll_weight=1.0)), FIRED) is None


def test_pairs_are_diversified_once() -> None:
    stage = dpo()
    found = DiversifyPairs()(fields_of(stage), FIRED)
    assert found is not None
    other = changed(stage, found)
    assert other.dedup is not None
    assert other.dedup.near
    assert other.dedup.exact
    assert other.data[0].drop_refusals
    assert DiversifyPairs()(fields_of(other), FIRED) is None


def test_the_first_response_with_room_that_was_not_tried_is_next() -> None:
    stage = cpt(data=(DOCS,))  # no replay source
    rule = Retained(metric="a/bpb")
    first = first_with_room(rule, FIRED, "cpt", fields_of(stage), [])
    assert first is not None
    assert first[0] == LowerRate()
    spent = [first[0].model_dump(mode="json")]
    assert first_with_room(rule, FIRED, "cpt", fields_of(stage), spent) is None
    assert first_with_room(rule, FIRED, "sft", fields_of(stage), []) is None
    assert responses_of(Retained(metric="a/bpb", respond=()), "cpt") == ()
    assert responses_of(Rebound(), "cpt") == (FewerEpochs(), LowerRate())
    assert responses_of(Refusing(metric="a/refusal"), "dpo") == (DiversifyPairs(), RaiseBeta())


@pytest.mark.parametrize("kinds", DEFAULTS, ids=" in ".join)
def test_default_responses_come_to_an_end(kinds: tuple[str, str]) -> None:
    stage: Any = {"cpt": cpt(), "sft": SftStage(data=(DOCS, OLD)), "dpo": dpo()}[kinds[1]]
    verdict = Verdict("x", True, 1.0, 0.0, "", about=("docs/bpb",))
    for response in DEFAULTS[kinds]:
        found = response(fields_of(stage), verdict)
        if found:
            stage = changed(stage, found)  # every change makes a valid stage


def test_changes_are_shown_in_one_line() -> None:
    found = {"learning_rate": 5e-6, "data": {"old": {"weight": 0.4, "drop_refusals": True}}}
    assert shown(found) == (
        "learning_rate 5e-06, data.old.weight 0.4, data.old.drop_refusals True"
    )


def test_templates_are_capped_where_one_dominates_and_others_are_there() -> None:
    stage = SftStage(data=(DOCS,))
    counted = {"largest": 0.8, "least": 0.1}
    cap = CapTemplates(at_most=0.3)
    assert cap(fields_of(stage) | {"templates": counted}, FIRED) == {"max_template_share": 0.3}
    assert cap(fields_of(stage) | {"templates": {**counted, "largest": 0.2}}, FIRED) is None
    assert cap(fields_of(stage) | {"templates": {**counted, "least": 0.5}}, FIRED) is None
    assert cap(fields_of(dpo()), FIRED) is None
    capped = SftStage(data=(DOCS,), max_template_share=0.3)
    assert cap(fields_of(capped) | {"templates": counted}, FIRED) is None
