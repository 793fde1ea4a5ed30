"""How much a training benchmark does, and the records it does it on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.shapes import SHAPES
from benchmarks.train_work import cut_short, documents, preferences, talks
from samdan.lm.batch import Encoded

PROBED = 256  # records that tell the mean length


@dataclass(frozen=True)
class Scale:
    """How much is done. ``per_step`` 0: as many records as hold ``tokens_per_step``.

    ``trl_batch`` 0: that of TRL's best known flags.
    """

    shape: str
    per_step: int
    tokens_per_step: int
    longest: int
    steps: int  # measured
    budget_s: float | None
    search: bool
    trl_batch: int = 0


# The budget: 4 minutes on two cores of AVX2 at 100 to 150 GFLOP/s in fp32. A step of 600 tokens of
# 135M parameters needs 5e11 FLOPs, so 6 to 8 s of ours; TRL takes 2 to 3 times as long: about 40 s
# for the four sides, 160 s for the warm-up and three steps, 50 s to start, check and run the
# reference pass. After the second step none begins that would end later than ``budget_s``.
QUICK = {
    "cpt": Scale("135m", 2, 0, 256, 3, 210, False),
    "sft": Scale("135m", 2, 0, 320, 3, 210, False),
    "dpo": Scale("135m", 4, 0, 192, 3, 210, False),
}
# Where bf16 products are fast a step of so few tokens is mostly the optimizer's; predicted by
# `benchmarks.beside`: 28 to 35 s for the four sides at these, 110 to 140 s for all steps. With
# AVX-512 it took 215 (cpt) to 243 s (sft, of longer records: now fewer).
QUICK_BF16 = {
    job: replace(scale, per_step=6 if job == "sft" else 8) for job, scale in QUICK.items()
}
FULL = Scale("0.5b", 0, 16_384, 2048, 3, None, True)
TINY = Scale("tiny", 4, 0, 96, 2, None, False)


@dataclass(frozen=True)
class Workload:
    """The records of all steps, the warm-up's first, and where they come from."""

    records: list[Encoded]
    per_step: int
    texts: str

    @property
    def steps(self) -> int:
        return len(self.records) // self.per_step

    def step(self, number: int) -> list[Encoded]:
        return self.records[number * self.per_step : (number + 1) * self.per_step]

    def round(self, number: int) -> Workload:
        """The warm-up and one measured step."""
        return replace(self, records=self.step(0) + self.step(number))

    def tokens(self) -> list[int]:
        return [sum(len(r) for r in self.step(number)) for number in range(self.steps)]


def make_workload(job: str, scale: Scale, data: Path | None, share: float | None) -> Workload:
    """Records for a warm-up and the measured steps.

    Where steps take minutes (no budget), the warm-up's records are cut short.
    """

    def make(count: int) -> tuple[list[Encoded], str]:
        vocab = SHAPES[scale.shape].vocab
        if job == "cpt":
            return documents(count, scale.longest, vocab, data)
        if job == "sft":
            return talks(count, scale.longest, vocab)
        return preferences(count, scale.longest, vocab, data, share)

    per_step = scale.per_step
    if not per_step:
        mean = float(np.mean([len(record) for record in make(PROBED)[0]]))
        per_step = 8 * int(np.ceil(1.1 * scale.tokens_per_step / mean / 8))
    records, texts = make(per_step * (scale.steps + 1))
    if scale.budget_s is None:
        records[:per_step] = [cut_short(record) for record in records[:per_step]]
    return Workload(records, per_step, texts)
