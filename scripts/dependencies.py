"""What samdan depends on, as installed: names, versions, licences. Read by the scripts beside."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    license: str
    extras: tuple[str, ...]
    """Which extras need it; the core's own have ``core``."""


def packages() -> list[Package]:
    """The installed dependencies of the core and of every extra, with what needs them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    groups = {"core": project["dependencies"], **project["optional-dependencies"]}
    needed: dict[str, set[str]] = {}
    for group, wanted in groups.items():
        for name in _closure(map(Requirement, wanted)):
            needed.setdefault(name, set()).add(group)
    found = []
    for name, extras in sorted(needed.items()):
        installed = distribution(name)
        shown = tuple(sorted(extras, key=lambda e: (e != "core", e)))
        shown = ("core",) if "core" in extras else shown
        found.append(Package(name, installed.version, license_of(installed), shown))
    return found


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _closure(wanted: Iterator[Requirement]) -> set[str]:
    """Names of what is wanted and of all that it needs, as far as it is installed."""
    seen: set[tuple[str, str]] = set()
    waiting = [(r, "") for r in wanted]
    names: set[str] = set()
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonical(requirement.name)
        for inner in ("", *requirement.extras):
            if (name, inner) in seen:
                continue
            seen.add((name, inner))
            try:
                needs = distribution(name).requires or []
            except PackageNotFoundError:
                continue
            names.add(name)
            waiting += [(Requirement(text), inner) for text in needs]
    return names


def license_of(installed: Distribution) -> str:
    """As the package says itself: SPDX expression, classifiers, or its free text's first line."""
    data = installed.metadata
    if expression := data.get("License-Expression"):
        return str(expression)
    classified = [
        value.rpartition(" :: ")[2]
        for value in data.get_all("Classifier") or []
        if value.startswith("License ::") and not value.endswith("OSI Approved")
    ]
    if classified:
        return " AND ".join(sorted(classified))
    text = (data.get("License") or "").strip().splitlines()
    return text[0][:80] if text else "unknown"
