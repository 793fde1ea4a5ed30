"""TRL is the oracle: losses and gradients equal its trainers' on the same records.

One micro-batch, a tiny random model in fp32; ours packs, TRL pads. The reference is another model,
so that the ratios are not 0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from samdan.lm.batch import collate
from samdan.lm.scoring import Scorer
from samdan.train import loop
from samdan.train.objectives import NextToken, Objective, Preference
from samdan.train.reference import reference_log_probs

trl = pytest.importorskip("trl", reason="TRL, the oracle, is not installed")
datasets = pytest.importorskip("datasets", reason="TRL's trainers need datasets")

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
TOLERANCE = 1e-5  # relative to each tensor's norm
BETA = 0.5
VARIANTS = {"sigmoid": 0.0, "ipo": 0.0, "hinge": 0.0, "sigmoid_norm": 0.0, "robust": 0.1}
PAIRS = [tiny.pair(p, c, r, i) for i, (p, c, r) in enumerate(
    [(3, 1, 9), (10, 20, 2), (2, 2, 2), (7, 14, 5), (1, 18, 30), (12, 1, 1)]
)]  # fmt: skip
TALKS = [tiny.conversation(p, a, i) for i, (p, a) in enumerate([(3, 1), (10, 25), (2, 2), (7, 14)])]
DOCUMENTS = [tiny.document(length, length) for length in (31, 2, 17, 40)]
PLAIN = {
    "per_device_train_batch_size": 8,
    "bf16": False,
    "fp16": False,
    "use_cpu": True,
    "gradient_checkpointing": False,
    "report_to": "none",
    "save_strategy": "no",
    "disable_tqdm": True,
    "max_length": 512,
}


def ours(objective: Objective, records: list[Any]) -> tuple[float, dict[str, torch.Tensor]]:
    model = tiny.model(seed=1)
    values = loop._accumulate(Scorer(model), objective, [collate(records)], seed=0, step=1)
    return values["loss"], tiny.gradients(model)


def theirs(trainer: Any, rows: list[dict[str, Any]]) -> tuple[float, dict[str, torch.Tensor]]:
    """The trainer's own collator and loss on the same token ids."""
    trainer.model.train()
    trainer.model.zero_grad()
    inputs = trainer.data_collator(rows)
    loss = trainer.compute_loss(trainer.model, inputs)
    loss.backward()
    return float(loss), tiny.gradients(trainer.model)


def assert_equal(mine: Any, oracle: Any) -> None:
    assert mine[0] == pytest.approx(oracle[0], rel=TOLERANCE)
    assert tiny.distance(mine[1], oracle[1]) < TOLERANCE


# --- next token -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sft_trainer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return trl.SFTTrainer(
        model=tiny.twin(tiny.model(seed=1)),
        args=trl.SFTConfig(output_dir=str(tmp_path_factory.mktemp("sft")), **PLAIN),
        train_dataset=datasets.Dataset.from_list([{"input_ids": [1, 2, 3], "labels": [1, 2, 3]}]),
        processing_class=tiny.tokenizer(),
    )


@pytest.mark.parametrize("records", [DOCUMENTS, TALKS], ids=["documents", "conversations"])
def test_next_token_loss_and_gradient_equal_trl(sft_trainer: Any, records: list[Any]) -> None:
    rows = []
    for record in records:
        ids = record.tokens.tolist()
        labels = [i if trained else -100 for i, trained in zip(ids, record.trained, strict=True)]
        rows.append({"input_ids": ids, "labels": labels})
    assert_equal(ours(NextToken(), records), theirs(sft_trainer, rows))


# --- preference -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> torch.Tensor:
    data = tiny.steps(tmp_path_factory.mktemp("pairs"), PAIRS, 1, 1).data
    return reference_log_probs(Scorer(tiny.model(seed=2)), data, capacity=64)


def dpo_trainer(folder: Path, loss_type: str, smoothing: float, nll_weight: float) -> Any:
    loss: dict[str, Any] = {"loss_type": [loss_type]}
    if nll_weight:
        loss = {"loss_type": [loss_type, "sft"], "loss_weights": [1.0, nll_weight]}
    rows = [{"prompt": "a", "chosen": "b", "rejected": "c"}]
    return trl.DPOTrainer(
        model=tiny.twin(tiny.model(seed=1)),
        ref_model=tiny.twin(tiny.model(seed=2)),
        args=trl.DPOConfig(
            output_dir=str(folder), beta=BETA, label_smoothing=smoothing, **loss, **PLAIN
        ),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tiny.tokenizer(),
    )


@pytest.mark.parametrize("nll_weight", [0.0, 0.7])
@pytest.mark.parametrize("loss_type", VARIANTS)
def test_preference_loss_and_gradient_equal_trl(
    tmp_path: Path, reference: torch.Tensor, loss_type: Any, nll_weight: float
) -> None:
    smoothing = VARIANTS[loss_type]
    stage = tiny.dpo(
        loss_type=loss_type, label_smoothing=smoothing, nll_weight=nll_weight, beta=BETA
    )
    rows = [
        dict(zip(("prompt_ids", "chosen_ids", "rejected_ids"), tiny.halves(p), strict=True))
        for p in PAIRS
    ]
    trainer = dpo_trainer(tmp_path, loss_type, smoothing, nll_weight)
    assert_equal(ours(Preference(stage, reference), PAIRS), theirs(trainer, rows))


def test_the_oracle_tells_variants_apart(tmp_path: Path, reference: torch.Tensor) -> None:
    """Negative control: two variants whose losses must not agree."""
    rows = [
        dict(zip(("prompt_ids", "chosen_ids", "rejected_ids"), tiny.halves(p), strict=True))
        for p in PAIRS
    ]
    oracle = theirs(dpo_trainer(tmp_path, "sigmoid", 0.0, 0.0), rows)
    mine = ours(Preference(tiny.dpo(loss_type="sigmoid_norm", beta=BETA), reference), PAIRS)
    assert abs(mine[0] - oracle[0]) > 0.01
    assert tiny.distance(mine[1], oracle[1]) > 0.01
