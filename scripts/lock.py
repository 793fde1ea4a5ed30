"""Writes requirements.lock: every dependency with the hashes of its files. Run by ``make lock``.

uv resolves what pyproject.toml asks for within constraints.txt, once for all supported Pythons and
for Linux on every processor, from the public index alone (a local wheel has another hash). The
hashes are those that the index tells of every file of a version; nothing is installed or
downloaded. Installing from the lock: see docs/security.md.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
# With their dependencies; `harness`, `cluster`, `bench` and the trackers are for other machines.
EXTRAS = ("hub", "judge", "documents", "corpus", "metrics")
HEAD = f"""\
# Every dependency of samdan and of its extras {", ".join(EXTRAS)}, with the sha256 of its files,
# for Linux and CPython 3.11 to 3.13. Written by `make lock`; installed by
#   pip install --require-hashes --no-deps -r requirements.lock && pip install --no-deps .
"""


def main() -> int:
    uv = Path(sys.executable).with_name("uv")
    command = [str(uv), "pip", "compile", "pyproject.toml", "-c", "constraints.txt"]
    command += [word for extra in EXTRAS for word in ("--extra", extra)]
    command += ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-header"]
    command += ["--no-annotate", "--quiet"]
    done = subprocess.run(command, cwd=ROOT, env=_public(), stdout=subprocess.PIPE, text=True)
    if done.returncode:
        return done.returncode
    LOCK.write_text(HEAD + done.stdout, "utf-8")
    packages = len(re.findall(r"(?m)^[a-z0-9][a-z0-9._-]*==", done.stdout))
    print(f"{LOCK.name}: {packages} packages, {done.stdout.count('--hash=')} files")
    return 0


def _public() -> dict[str, str]:
    """The environment without indexes, folders and constraints of this machine."""
    local = re.compile(r"UV_(?:.*INDEX.*|FIND_LINKS|.*CONSTRAINT|OVERRIDE|CONFIG_FILE)")
    return {name: value for name, value in os.environ.items() if not local.fullmatch(name)}


if __name__ == "__main__":
    sys.exit(main())
