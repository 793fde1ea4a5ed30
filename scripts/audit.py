"""Asks for known vulnerabilities of everything in requirements.lock. Run by ``make audit``.

First it asks for a version that is known to be vulnerable: a service that does not know it, or
cannot be reached, would call everything safe. Arguments go to pip-audit (``-s osv``).
Ends with 1 when something is vulnerable, 2 when nothing could be checked.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
KNOWN = "jinja2==2.4.1"  # CVE-2014-1402, CVE-2016-10745 and others


def main(arguments: list[str]) -> int:
    if not LOCK.is_file():
        print("there is no requirements.lock; run `make lock` first", file=sys.stderr)
        return 2
    if why := _blind(arguments):
        print(f"nothing was checked: {why}", file=sys.stderr)
        return 2
    return _audit([*arguments, "--strict", "--require-hashes", "-r", str(LOCK)]).returncode


def _blind(arguments: list[str]) -> str | None:
    """Why the service cannot be believed, or None."""
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder) / "known.txt"
        asked.write_text(f"{KNOWN}\n", "utf-8")
        done = _audit([*arguments, "--no-deps", "-r", str(asked)], capture=True)
    if KNOWN.partition("==")[0] in done.stdout and done.returncode == 1:
        return None
    said = (done.stderr.strip().splitlines() or ["it finds no fault in it"])[-1]
    return (
        f"the vulnerability service does not know {KNOWN}, which has several ({said[:200]}). Run "
        "this where PyPI's JSON interface can be reached, or ask OSV: make audit "
        'AUDIT_ARGS="-s osv"'
    )


def _audit(arguments: list[str], capture: bool = False) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--progress-spinner", "off"]
    return subprocess.run([*command, *arguments], capture_output=capture, text=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
