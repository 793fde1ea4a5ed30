"""Names of other trainers are read and said; two names for one field are refused."""

from __future__ import annotations

import pytest

from samdan import aliases
from samdan.recipe import Recipe, parse
from samdan.records import RecipeError
from samdan.stages import CptStage, DpoStage

TEXT = """\
samdan: 1
name: a
base: {path: b}
stages:
  - name: sft
    data: [{path: qa}]
    lr: 3e-5
    cutoff_len: 512
  - name: dpo
    data: [{path: pairs}]
    pref_beta: 0.2
"""


def read(text: str, *overrides: str) -> tuple[Recipe, list[str]]:
    hints: list[str] = []
    return parse(text, "r.yaml", overrides, hints.append), hints


def test_other_names_are_applied_and_said_with_their_place() -> None:
    recipe, hints = read(TEXT)
    sft, dpo = recipe.stages
    assert (sft.learning_rate, sft.max_length, dpo.beta) == (3e-5, 512, 0.2)  # type: ignore[union-attr]
    assert hints == [
        "r.yaml:7:5: 'lr' is read as 'learning_rate'; write it so",
        "r.yaml:8:5: 'cutoff_len' is read as 'max_length'; write it so",
        "r.yaml:11:5: 'pref_beta' is read as 'beta'; write it so",
    ]


def test_our_names_give_no_hint() -> None:
    text = TEXT.replace("lr:", "learning_rate:").replace("cutoff_len", "max_length")
    assert read(text.replace("pref_beta", "beta"))[1] == []


def test_a_wrong_value_is_found_where_it_stands() -> None:
    with pytest.raises(RecipeError, match=r"r\.yaml:7:5: stages\[0\]\.learning_rate: found 'fast'"):
        read(TEXT.replace("3e-5", "fast"))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("cutoff_len: 512", "learning_rate: 1e-5", "'lr' and 'learning_rate' are the same field"),
        ("cutoff_len: 512", "warmup_ratio: 3", "expected a share of the run"),
        ("cutoff_len: 512", "batch_size: 8", "some tools count it over all devices"),
        ("cutoff_len", "cutof_len", "unknown key"),
        ("pref_beta", "lora_r", "here it is called 'lora'"),
    ],
)
def test_what_is_not_plain_is_refused(old: str, new: str, expected: str) -> None:
    with pytest.raises(RecipeError, match=expected):
        read(TEXT.replace(old, new))


def test_overrides_and_a_base_from_scratch_know_the_names_too() -> None:
    recipe, hints = read(TEXT, "stages.sft.lr=1e-6", "stages.dpo.epochs=2")
    assert recipe.stages[0].learning_rate == 1e-6
    assert recipe.stages[1].num_train_epochs == 2
    assert "--set stages.dpo.epochs=2: 'epochs' is read as 'num_train_epochs'" in hints[-1]
    scratch = (
        "{scratch: {hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2}, "
        "tokenizer: {vocab_size: 400}, data: [{path: t}], train: {lr: 2e-3, seq_len: 64}}"
    )
    recipe, hints = read(TEXT.replace("{path: b}", scratch))
    assert (recipe.stage("base").learning_rate, recipe.stage("base").max_length) == (2e-3, 64)
    assert "'lr' is read as 'learning_rate'" in hints[0] or "'lr'" in hints[-2]


def test_every_alias_stands_for_a_field() -> None:
    fields = CptStage.model_fields.keys() | DpoStage.model_fields.keys()
    assert set(aliases.ALIASES.values()) <= fields
    assert not (aliases.ALIASES.keys() | aliases.AMBIGUOUS.keys()) & fields
