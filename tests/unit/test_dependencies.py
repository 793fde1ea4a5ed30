"""What samdan depends on: pinned, locked by hash, under permissive licences, in a bill."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from dependencies import Package, canonical, packages  # noqa: E402
from licenses import ACCEPTED, fault  # noqa: E402
from sbom import bill, locked  # noqa: E402


def pinned(file: str = "constraints.txt") -> dict[str, str]:
    lines = (ROOT / file).read_text("utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonical(name): version for name, version in pairs}


def test_every_installed_dependency_is_pinned() -> None:
    versions = pinned()
    assert [p.name for p in packages() if p.name not in versions and p.name != "setuptools"] == []


def test_the_oldest_versions_are_the_lower_bounds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    bounds = {
        canonical(wanted.name): Version(one.version)
        for wanted in map(Requirement, project["dependencies"])
        for one in wanted.specifier
        if one.operator == ">="
    }
    assert len(bounds) == len(project["dependencies"])
    oldest = pinned("constraints-oldest.txt")
    assert {name: Version(version) for name, version in oldest.items()} == bounds


def test_every_licence_is_permissive() -> None:
    found = packages()
    assert [why for package in found if (why := fault(package))] == []
    names = {package.name for package in found}
    listed = (ROOT / "docs" / "licenses.md").read_text("utf-8")
    assert [name for name in names if f"| {name} |" not in listed] == []
    assert set(ACCEPTED) <= {canonical(name) for name in pinned()} | names


@pytest.mark.parametrize(
    ("license", "accepted"),
    [
        ("MIT", True),
        ("Apache-2.0 AND CNRI-Python", True),
        ("BSD License", True),
        ("ISC License (ISCL)", True),
        ("GPL-3.0-or-later", False),
        ("GNU Lesser General Public License v3 (LGPLv3)", False),
        ("MIT AND AGPL-3.0", False),
        ("MPL-2.0", False),
        ("unknown", False),
        ("Proprietary", False),
    ],
)
def test_what_is_permissive(license: str, accepted: bool) -> None:
    assert (fault(Package("a", "1", license, ("core",))) is None) == accepted


def test_the_bill_of_materials_names_every_package() -> None:
    found = packages()
    made = bill(found, "0.1.0", {f"{found[0].name}=={found[0].version}": ["ab" * 32]})
    assert (made["bomFormat"], made["specVersion"]) == ("CycloneDX", "1.6")
    assert {one["name"] for one in made["components"]} == {package.name for package in found}
    assert all(one["purl"].startswith("pkg:pypi/") for one in made["components"])
    assert made["components"][0]["externalReferences"][0]["hashes"][0]["content"] == "ab" * 32
    assert made == bill(found, "0.1.0", {f"{found[0].name}=={found[0].version}": ["ab" * 32]})


@pytest.mark.skipif(not (ROOT / "requirements.lock").is_file(), reason="not locked yet")
def test_the_lock_holds_what_is_pinned_with_hashes() -> None:
    versions, lock = pinned(), locked()
    assert {"torch", "transformers", "safetensors"} <= {key.partition("==")[0] for key in lock}
    for key, hashes in lock.items():
        name, _, version = key.partition("==")
        # torch's own CUDA packages are pinned by torch.
        if not name.startswith(("nvidia-", "cuda-", "triton")):
            assert versions.get(name) == version, key
        assert hashes
    text = (ROOT / "requirements.lock").read_text("utf-8")
    assert re.search(r"https?://", text) is None
