"""What new rows should begin as: every initialiser at equal training bytes, over seeds.

python -m experiments.grow.vocabulary runs/grow docs/grow-vocabulary.json [--data FOLDER]

The base's tokenizer has little Korean. It grows by merges learned on court decisions, the rows
begin by one of the initialisers, and the same text is read in the same order by all. The base
without new tokens reads about as many bytes a step: its blocks are longer by what the merges save.
Prints Markdown tables.
"""

from __future__ import annotations

import json
from pathlib import Path

from experiments.grow.common import Measured, Study, Tree, adapt, arguments, base, paired

VOCAB = {"merges": 600, "min_count": 20, "sources": ["law"]}
STEPS, EARLY = 100, 50
BLOCK = 256
METHODS = {
    "mean": ("mean", "mean"),
    "mean, head: first": ("mean", "first"),
    "weighted_mean": ("weighted_mean", "weighted_mean"),
    "first": ("first", "first"),
    "similar": ("similar", "similar"),
    "normal": ("normal", "normal"),
}
NONE = "no new tokens"


def main() -> None:
    given = arguments(__doc__)
    study = Study(given.results)
    for seed in given.seeds:
        model = base(given.home, given.data, seed)
        for case, (inputs, output) in METHODS.items():
            grow = {"vocab": VOCAB | {"input": inputs, "output": output}}
            study.measure(case, seed, Arm(given.home, seed, model, grow))
        saved = study.results["mean"][str(seed)]["law tokens saved"]
        study.measure(NONE, seed, Arm(given.home, seed, model, None, round(BLOCK / (1 - saved))))
    print(
        study.table(
            [NONE, *METHODS],
            {
                "law base": "base", "law 0": "0 steps", f"law {EARLY}": f"{EARLY} steps",
                f"law {STEPS}": f"{STEPS} steps", "en": "English after",
                "trained bytes": "bytes read",
            },
        )
    )  # fmt: skip
    for case in (NONE, *METHODS):
        for step in (EARLY, STEPS):
            pair = study.values(case, f"law {step}"), study.values("mean", f"law {step}")
            mean, half = paired(*pair)
            print(f"{case} against mean after {step} steps: {mean:+.4f} ± {half:.4f}")


class Arm:
    """One case with one seed."""

    def __init__(
        self, home: Path, seed: int, model: Path, grow: Tree | None, block: int = BLOCK
    ) -> None:
        self._home, self._seed, self._model = home, seed, model
        self._grow, self._block = grow, block

    def __call__(self) -> dict[str, float]:
        vocab = self._grow["vocab"] if self._grow else {"input": "none", "output": "none"}
        name = f"vocabulary-{vocab['input']}-{vocab['output']}"
        found = adapt(
            self._home, name, self._seed, self._model, self._grow,
            max_steps=STEPS, eval_steps=EARLY, max_length=self._block,
        )  # fmt: skip
        return row(found) | self._sizes(self._home / f"{name}-{self._seed}")

    def _sizes(self, run: Path) -> dict[str, float]:
        """Bytes that the stage read, and the share of tokens that the new ones save."""
        from samdan.lm.shards import Shard
        from samdan.lm.tokenizer import load_tokenizer, text_encoder

        folder = run / "cpt" / "data"
        read = 0.0
        accounts = json.loads((folder / "manifest.json").read_text("utf-8"))["by_source"]
        for label, account in accounts.items():
            shard = Shard(folder / label)
            read += float(shard.bytes.sum()) / shard.num_tokens * account["trained"]
        home = run / "base" / ("vocabulary" if self._grow else "tokenizer")
        texts = [json.loads(line)["text"] for line in (self._home / "data" / "law.jsonl").open()]
        sizes = []
        for place in (home, run / "base" / "tokenizer"):
            encoder = text_encoder(load_tokenizer(str(place)))
            encodings = encoder.encode_batch_fast(texts[-500:], add_special_tokens=False)
            sizes.append(sum(len(encoding.ids) for encoding in encodings))
        return {"trained bytes": read, "law tokens saved": 1 - sizes[0] / sizes[1]}


def row(found: Measured) -> dict[str, float]:
    law = found.bpb["law"]
    return {
        "law base": found.base["law"], "law 0": law[0], f"law {EARLY}": law[EARLY],
        f"law {STEPS}": law[STEPS], "en base": found.base["en"], "en": found.bpb["en"][STEPS],
        "tokens": found.tokens, "seconds": found.seconds,
    }  # fmt: skip


if __name__ == "__main__":
    main()
