"""How the scripts begin and end that ``test_split.py`` runs in two processes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from samdan.train import parallel


def carry_out(cases: Iterable[str], check: Callable[[str, Path], object]) -> None:
    """Checks every case in the folder that the command line names, together with the others."""
    torch.set_num_threads(1)
    parallel.start()
    for case in cases:
        check(case, Path(sys.argv[1]))
    parallel.stop()
