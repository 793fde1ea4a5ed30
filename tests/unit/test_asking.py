"""Many requests at the same time: what is answered is handed over, whatever ends the asking."""

from __future__ import annotations

from concurrent.futures import wait
from types import SimpleNamespace
from typing import Any

import pytest

from samdan.lm import asking
from samdan.lm.asking import Question, ask_all
from samdan.records import EnvironmentFailure


class _Teacher:
    settings = SimpleNamespace(parallel=2)

    def ask(self, id: str, messages: list[dict[str, str]], seed: int) -> Any:
        if id == "1":
            raise EnvironmentFailure("HTTP 403")
        return SimpleNamespace(status="ok")

    def stop(self) -> None:
        pass


def test_what_is_answered_together_with_a_refusal_is_handed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Four requests are done at once; the refusal comes first out of the set."""

    def all_of_them(waiting: Any, **_: Any) -> Any:
        done = wait(waiting).done
        return SimpleNamespace(done=sorted(done, key=lambda one: one.exception() is None))

    monkeypatch.setattr(asking, "wait", all_of_them)
    got: list[str] = []
    teacher: Any = _Teacher()
    with pytest.raises(EnvironmentFailure, match="403"):
        ask_all(
            teacher,
            (Question(str(n), [], 0) for n in range(6)),
            lambda id, _reply, _left: got.append(id),
            str,
        )
    assert got == ["0", "2", "3"]
