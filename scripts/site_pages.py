"""The site's pages that lie outside docs/, and a check of what was built. A hook of mkdocs.

The README is the first page. Links are written for the forge (``docs/x.md``, ``../recipes/y.yaml``)
and are turned here, so that one text serves both.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
# Where a file of the repository stands on the site.
OUTSIDE = {"README.md": "index.md", "README.ko.md": "index.ko.md", "CHANGELOG.md": "changes.md"}
LINK = re.compile(r"(?<=\]\()([^)\s#]+)(#[^)\s]*)?(?=\))")
ELSEWHERE = r"""=["'](?:https?:)?//"""
LOADED = re.compile(
    rf"""<(?:script|img|iframe|source)\b[^>]*\bsrc{ELSEWHERE}"""
    r"""|<link\b[^>]*\brel=["'](?:stylesheet|icon|preload|preconnect|shortcut icon)["']"""
    rf"""[^>]*\bhref{ELSEWHERE}"""
    r"""|url\(["']?(?:https?:)?//|@import\s+["'](?:https?:)?//""",
    re.IGNORECASE,
)


def on_config(config: Any) -> Any:
    """Leaves out of the navigation what is not there; a test holds that nothing else is missing."""
    docs = Path(config["docs_dir"])
    config["nav"] = [kept for entry in config["nav"] if (kept := _there(entry, docs))]
    return config


def _there(entry: dict[str, Any], docs: Path) -> dict[str, Any] | None:
    (title, target), *_ = entry.items()
    if isinstance(target, list):
        return {title: [kept for one in target if (kept := _there(one, docs))]}
    return entry if target in OUTSIDE.values() or (docs / target).is_file() else None


def on_files(files: Any, config: Any) -> Any:
    for name, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text("utf-8")))
    for path in sorted((ROOT / "recipes").glob("*.yaml")):
        files.append(File.generated(config, f"recipes/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    places = {there: here for here, there in OUTSIDE.items()}
    here = places.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    return LINK.sub(lambda found: turned(found[1], here) + (found[2] or ""), markdown)


def turned(target: str, here: str) -> str:
    """A link of the repository's file ``here`` as a link between pages of the site."""
    if ":" in target:
        return target
    path = posixpath.normpath(posixpath.join(posixpath.dirname(here), target))
    return posixpath.relpath(site_path(path), posixpath.dirname(site_path(here)) or ".")


def site_path(path: str) -> str:
    return OUTSIDE.get(path, path.removeprefix("docs/"))


def on_post_page(output: str, page: Any, config: Any) -> str:
    """What reads a page aloud takes its language from here."""
    if not page.file.src_uri.endswith(".ko.md"):
        return output
    return output.replace('lang="en"', 'lang="ko"', 1)


def on_post_build(config: Any) -> None:
    if found := faults(Path(config["site_dir"])):
        raise PluginError("\n".join(found))


def faults(site: Path) -> list[str]:
    """Every place in pages, styles and scripts from which a browser would ask another host."""
    paths = [p for p in sorted(site.rglob("*")) if p.suffix in {".html", ".css", ".js", ".svg"}]
    return [
        f"{path.relative_to(site)}: {hit[0]}"
        for path in paths
        for hit in LOADED.finditer(path.read_text("utf-8"))
    ]
