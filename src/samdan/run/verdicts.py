"""Verdicts as report.json holds them."""

from __future__ import annotations

from typing import Any

from samdan.records import Verdict


def verdict_row(verdict: Verdict) -> dict[str, Any]:
    """As in report.json."""
    return {
        "rule": verdict.rule,
        "fired": verdict.fired,
        "value": verdict.value,
        "limit": verdict.limit,
        "response": verdict.response if verdict.fired else "none",
        "message": verdict.message,
    }
