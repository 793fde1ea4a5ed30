"""One tiny world and one finished, undisturbed run of it for all tests of this folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.helpers import SECRETS, cut, make_world, python

# Inherited by every program that the tests start: one thread each, and no base from a cache.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["SAMDAN_CACHE"] = ""


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe of the tiny world, its data beside it."""
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def reference(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of all stages that nothing disturbed, made by the command line. Not to be changed.

    Made with the network cut, of which ``test_offline.py`` looks at the log, and with secrets in
    the environment, which ``test_secrets.py`` looks for.
    """
    run = tmp_path_factory.mktemp("reference") / "run"
    offline = cut(run.parent / "offline.log") | SECRETS
    finished = python("-m", "samdan.cli", "run", str(recipe), "--out", str(run), env=offline)
    assert finished.code == 0, finished.err
    (run.parent / "said.txt").write_text(finished.out + finished.err, "utf-8")
    return run


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Runs inside the test's own process compute as the programs do."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
