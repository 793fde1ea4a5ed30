"""The Content-Security-Policy of a page that is one document: nothing else is loaded or run."""

from __future__ import annotations

import base64
import hashlib


def policy(style: str, script: str, trusted_types: str = "'none'") -> str:
    """``trusted_types``: name of the one policy by which the script may make markup of text."""
    return (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'; "
        f"trusted-types {trusted_types}"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
