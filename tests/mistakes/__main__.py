"""Writes docs/errors.md."""

from pathlib import Path

from mistakes import page

(Path(__file__).resolve().parents[2] / "docs" / "errors.md").write_text(page(), "utf-8")
