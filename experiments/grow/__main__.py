"""All experiments on growing, one after another: python -m experiments.grow HOME [--data FOLDER].

Results go to docs/grow-*.json, and each prints its table. What is finished in HOME is not done
again.
"""

from __future__ import annotations

import subprocess
import sys

NAMES = ("vocabulary", "unfreezing", "depth", "rates")


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        raise SystemExit(__doc__)
    home, *more = sys.argv[1:]
    for name in NAMES:
        words = [sys.executable, "-m", f"experiments.grow.{name}", home, f"docs/grow-{name}.json"]
        subprocess.run([*words, *more], check=True)


if __name__ == "__main__":
    main()
