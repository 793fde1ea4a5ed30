"""Where a model is, the key to it and how it is asked: what is refused before anything is sent."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, ValidationError
from ruamel.yaml.comments import CommentedMap

from samdan.records import DataError, RecipeError
from samdan.spec import Count, NonNegative, Positive, Spec, explain, plain, set_value


class AskSettings(Spec):
    """How any model is asked; whoever asks adds fields and other defaults."""

    parallel: Annotated[int, Field(strict=True, ge=1, le=64)] = 4
    """Requests under way at the same time."""
    timeout_seconds: Positive = 120.0
    """Time for one answer."""
    attempts: Annotated[int, Field(strict=True, ge=1, le=20)] = 5
    """How often a request is tried when the server or the network fails."""
    backoff_seconds: Positive = 1.0
    """Pause before the second attempt; it doubles with every further one, up to a minute."""
    temperature: NonNegative = 0.7
    """Sampling temperature of the model."""
    max_tokens: Count = 2048
    """Longest answer; one that reaches it is not used."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the key."""
    allow_plain_http: Annotated[bool, Field(strict=True)] = False
    """Allows http to a host other than this machine."""


S = TypeVar("S", bound=AskSettings)


def read_settings(assignments: Sequence[str], kind: type[S]) -> S:
    """Settings from ``KEY=VALUE`` strings. Raises DataError that names the key."""
    tree = CommentedMap()
    try:
        for assignment in assignments:
            set_value(tree, assignment)
        return kind.model_validate(plain(tree))
    except ValidationError as error:
        message = str(explain(error, plain(tree), "--set", frozenset()))
        raise DataError(message.replace("--set:1:1: ", "--set ")) from None
    except RecipeError as error:
        raise DataError(str(error)) from None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the model is: scheme, host, port and the path before ``/chat/completions``."""

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
