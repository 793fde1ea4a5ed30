"""Where a teacher is and the key to it: what is refused before anything is sent."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from samdan.records import DataError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the teacher is: scheme, host, port and the path before ``/chat/completions``."""

    scheme: str
    host: str
    port: int | None
    path: str

    @property
    def shown(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}{f':{self.port}' if self.port else ''}{self.path}"


def parse_endpoint(url: str, allow_plain_http: bool = False) -> Endpoint:
    """Raises DataError for a URL that is none, holds a password, or would be read on the way."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise DataError(f"--endpoint: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        example = "expected one such as http://127.0.0.1:8000/v1"
        raise DataError(f"--endpoint: found {_without_secrets(url)!r}, {example}")
    if parts.username is not None or parts.password is not None:
        raise DataError(
            "--endpoint: holds a user name or password; name a variable with the key instead: "
            "--set api_key_env=NAME"
        )
    if parts.query or parts.fragment:
        raise DataError("--endpoint: expected no ? or # in it, as in https://host/v1")
    if parts.scheme == "http" and not _is_loopback(parts.hostname) and not allow_plain_http:
        raise DataError(
            f"--endpoint: http to {parts.hostname} can be read on the way; use https, or allow it "
            "with --set allow_plain_http=true"
        )
    return Endpoint(parts.scheme, parts.hostname, port, parts.path.rstrip("/"))


def _without_secrets(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//...@", url)[:80]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_key(variable: str | None, environment: Mapping[str, str]) -> str:
    """The key from the variable that the user named; empty without one."""
    if variable is None:
        return ""
    key = environment.get(variable, "").strip()
    if not key:
        raise DataError(f"api_key_env: the environment variable {variable} is not set")
    if not key.isascii() or not key.isprintable():
        raise DataError(f"api_key_env: {variable} holds characters that no header can carry")
    return key
