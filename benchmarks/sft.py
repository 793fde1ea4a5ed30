"""Supervised fine-tuning, 40% of tokens supervised, next to peers: ``python -m benchmarks.sft``.

`benchmarks.train` says what is measured; ``--quick`` takes under 4 minutes on two quiet cores.
"""

from benchmarks.train import main

if __name__ == "__main__":
    main("sft")
