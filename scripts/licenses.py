"""Writes docs/licenses.md: the licence of every installed dependency. Run by ``make licenses``."""

from __future__ import annotations

import re
import sys

from dependencies import ROOT, Package, packages

# Without a condition on the programs that use them.
PERMISSIVE = re.compile(
    r"(?i)\b(?:mit|mit-cmu|bsd|0bsd|bsl-1\.0|apache|isc|iscl|psf|zlib|cc0|cnri|python software|hpnd"
    r"|unlicense|boost)\b"
)
COPYLEFT = re.compile(r"(?i)\b(?:a?gpl|lgpl|mpl|mozilla|eupl|cddl|epl|sspl|gnu|cc-by-nc|cc-by-sa)")
# Copyleft of single files that samdan neither changes nor contains.
ACCEPTED = {
    "certifi": "MPL-2.0: root certificates, used unchanged",
    "hypothesis": "MPL-2.0: runs tests only",
    "pathspec": "MPL-2.0: part of mypy and mkdocs, checks types and builds the site only",
    "tqdm": "MPL-2.0 AND MIT: used unchanged through other libraries",
}
HEAD = """\
# Licences

samdan is Apache-2.0. Written by `make licenses` from what the installed packages say of
themselves; a test holds that none has another kind of licence. `core` is installed always, the
others with the extra of that name.

| package | version | licence | needed by |
|---|---|---|---|
"""


def fault(package: Package) -> str | None:
    """Why a package's licence is not accepted, or None."""
    if package.name in ACCEPTED:
        return None
    if COPYLEFT.search(package.license):
        return f"{package.name}: {package.license} asks something of the programs that use it"
    if not PERMISSIVE.search(package.license):
        return f"{package.name}: {package.license} is not known to be permissive"
    return None


def main() -> int:
    found = packages()
    rows = [
        f"| {p.name} | {p.version.partition('+')[0]} | {p.license} | {', '.join(p.extras)} |"
        for p in found
    ]
    notes = [f"- {name}: {why}" for name, why in ACCEPTED.items()]
    tail = ["", "Copyleft of single files, accepted:", "", *notes, ""]
    (ROOT / "docs" / "licenses.md").write_text(HEAD + "\n".join([*rows, *tail]), "utf-8")
    faults = [why for package in found if (why := fault(package))]
    print("\n".join(faults) or f"docs/licenses.md: {len(found)} packages, all accepted")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
