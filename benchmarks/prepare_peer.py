"""One side of a comparison in this process: ``prepare_peer SIDE JOB TEXTS OUT WORKERS``.

Both sides read the same Parquet files with pyarrow, count words with kiwipiepy's current model and
write what is kept. A side's libraries are imported before the clock starts.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from benchmarks.watch import say, timed


def main() -> None:
    side, job, texts, out, workers = sys.argv[1:]
    program = import_module(f"benchmarks.peer_{side}")
    work = {"filters": program.filters, "dedup": program.dedup}[job]
    folder = Path(out)
    folder.mkdir(parents=True)
    _, took = timed(lambda: work(Path(texts), folder, int(workers)))
    say(took | {"kept": sorted(program.kept(folder))})


if __name__ == "__main__":
    main()
