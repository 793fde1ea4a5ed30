"""Writes requirements.lock: every dependency with the hashes of the files that were resolved.

Run by ``make lock``. pip itself resolves what pyproject.toml asks for within constraints.txt, for
each supported Python on Linux x86-64, from the public index alone (a local wheel has another hash),
and says what it would download; nothing is installed. Needs pip 23.3 or newer, which reads metadata
without the files. Installing from the lock: see docs/security.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
PYTHONS = ("3.11", "3.12", "3.13")
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64",
             "manylinux_2_34_x86_64", "manylinux_2_31_x86_64", "manylinux_2_27_x86_64",
             "manylinux_2_12_x86_64", "manylinux2010_x86_64", "manylinux_2_5_x86_64",
             "manylinux1_x86_64", "linux_x86_64")  # fmt: skip
# With their dependencies; `harness`, `cluster` and `bench` are for development machines.
EXTRAS = ("hub", "judge", "documents", "corpus", "metrics")
HEAD = """\
# Every dependency of samdan and of its extras {extras}, with the sha256 of its files for
# CPython {pythons} on Linux x86-64. Written by `make lock`; installed by
#   pip install --require-hashes --no-deps -r requirements.lock && pip install --no-deps .
"""


def main() -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"]]
    for extra in EXTRAS:
        wanted += project["optional-dependencies"][extra]
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    only: dict[tuple[str, str], set[str]] = defaultdict(set)
    for python in PYTHONS:
        for item in _resolved(wanted, python):
            name = item["metadata"]["name"].lower().replace("_", "-").replace(".", "-")
            key = (name, item["metadata"]["version"].partition("+")[0])
            found[key].add(item["download_info"]["archive_info"]["hashes"]["sha256"])
            only[key].add(python)
    lines = []
    for (name, version), hashes in sorted(found.items()):
        pythons = only[name, version]
        marker = "" if pythons == set(PYTHONS) else _marker(sorted(pythons))
        listed = " \\\n".join(f"    --hash=sha256:{digest}" for digest in sorted(hashes))
        lines.append(f"{name}=={version}{marker} \\\n{listed}")
    head = HEAD.format(extras=", ".join(EXTRAS), pythons=", ".join(PYTHONS))
    LOCK.write_text(head + "\n".join(lines) + "\n", "utf-8")
    print(f"{LOCK.name}: {len(found)} packages, {sum(map(len, found.values()))} files")
    return 0


def _resolved(wanted: list[str], python: str) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed"]
        command += ["-qq", "--disable-pip-version-check", "--no-input"]
        command += ["--only-binary=:all:", "--python-version", python, "--implementation", "cp"]
        command += [word for name in PLATFORMS for word in ("--platform", name)]
        command += ["--target", folder, "--report", str(report)]
        command += ["-c", str(ROOT / "constraints.txt"), *wanted]
        subprocess.run(command, check=True, env=_public())
        installed: list[dict[str, Any]] = json.loads(report.read_text("utf-8"))["install"]
        return installed


def _public() -> dict[str, str]:
    """The environment without indexes, folders and constraints of this machine."""
    local = ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL", "PIP_CONSTRAINT")
    kept = {name: value for name, value in os.environ.items() if name not in local}
    return {**kept, "PIP_CONFIG_FILE": os.devnull}


def _marker(pythons: list[str]) -> str:
    return " ; " + " or ".join(f"python_version == '{python}'" for python in pythons)


if __name__ == "__main__":
    sys.exit(main())
