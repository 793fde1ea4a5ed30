"""Continued pre-training on documents, next to peers: ``python -m benchmarks.cpt``.

`benchmarks.train` says what is measured; ``--quick`` takes under 4 minutes on two quiet cores.
"""

from benchmarks.train import main

if __name__ == "__main__":
    main("cpt")
