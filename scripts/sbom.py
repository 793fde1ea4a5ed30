"""Prints a software bill of materials (CycloneDX 1.6, JSON) of what is installed: ``make sbom``."""

from __future__ import annotations

import json
import re
import sys
import tomllib
import uuid
from typing import Any

from dependencies import ROOT, Package, canonical, packages


def bill(found: list[Package], version: str, hashes: dict[str, list[str]]) -> dict[str, Any]:
    """``hashes``: sha256 of the files in the lock, by ``name==version``."""
    own = f"pkg:pypi/samdan@{version}"
    components = [_component(package, hashes) for package in found]
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(components, sort_keys=True))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",  # of the content: the same bill has the same number
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": "samdan",
                "version": version,
                "purl": own,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            }
        },
        "components": components,
        "dependencies": [{"ref": own, "dependsOn": [one["bom-ref"] for one in components]}],
    }


def _component(package: Package, hashes: dict[str, list[str]]) -> dict[str, Any]:
    version = package.version.partition("+")[0]
    purl = f"pkg:pypi/{package.name}@{version}"
    files = [
        {"type": "distribution", "url": purl, "hashes": [{"alg": "SHA-256", "content": digest}]}
        for digest in hashes.get(f"{package.name}=={version}", [])
    ]
    made: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": package.name,
        "version": version,
        "purl": purl,
        "scope": "required" if package.extras == ("core",) else "optional",
        "licenses": [{"license": {"name": package.license}}],
    }
    return made | ({"externalReferences": files} if files else {})


def locked() -> dict[str, list[str]]:
    """The hashes of requirements.lock (none where there is no lock), by ``name==version``."""
    found: dict[str, list[str]] = {}
    if not (ROOT / "requirements.lock").is_file():
        return found
    name = ""
    for line in (ROOT / "requirements.lock").read_text("utf-8").splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)==([^\s;]+)", line):
            name = f"{canonical(match[1])}=={match[2]}"
        elif match := re.search(r"--hash=sha256:([0-9a-f]{64})", line):
            found.setdefault(name, []).append(match[1])
    return found


def main() -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    made = bill(packages(), project["version"], locked())
    json.dump(made, sys.stdout, indent=1, ensure_ascii=False)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
