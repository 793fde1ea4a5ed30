"""Nothing phones home: programs run with the network cut, and try nothing.

The run of all three stages that other tests share is made with the network cut (``conftest.py``).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.helpers import cut, python

TRIES = (
    "import socket; socket.create_connection(('198.51.100.7', 80), timeout=1)",
    "import urllib.request; urllib.request.urlopen('http://model.example/')",
    "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('198.51.100.7', 53))",
)


def test_a_run_of_all_stages_tries_nothing(reference: Path) -> None:
    log = reference.parent / "offline.log"
    assert (reference / "report.html").is_file()
    assert not log.exists(), log.read_text("utf-8")


@pytest.mark.parametrize("program", TRIES)
def test_an_attempt_would_be_seen(program: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    tried = python("-c", program, env=cut(log))
    assert tried.code == 1
    assert "the network is cut" in tried.err
    assert "model.example" in log.read_text("utf-8") or "198.51.100.7" in log.read_text("utf-8")
    here = "import socket; s = socket.create_server(('127.0.0.1', 0)); "
    here += "socket.create_connection(s.getsockname())"
    assert python("-c", here, env=cut(tmp_path / "none")).code == 0
    assert not (tmp_path / "none").exists()


OF_OTHERS = (
    "import subprocess, sys; subprocess.run([sys.executable, '-I', '-c', "
    "'import socket; socket.getaddrinfo(\"model.example\", 80)'])",
    "import ctypes; ctypes.CDLL(None).getaddrinfo(b'model.example', None, None, "
    "ctypes.byref(ctypes.c_void_p()))",
)


@pytest.mark.parametrize("program", OF_OTHERS)
def test_an_attempt_of_another_process_or_language_would_be_seen(
    program: str, tmp_path: Path
) -> None:
    """No hook of Python's sees a process that ignores PYTHONPATH, or a library in C or Rust."""
    log = tmp_path / "log"
    environment = cut(log)
    if "LD_PRELOAD" not in environment:
        pytest.skip("needs a C compiler")
    python("-c", program, env=environment)
    assert "libc getaddrinfo model.example" in log.read_text("utf-8")


@pytest.mark.slow
def test_the_demo_tries_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    out = str(tmp_path / "demo")
    done = python("-m", "samdan.cli", "demo", "--out", out, env=cut(log), timeout=3600)
    assert done.code in (0, 3), done.err
    assert not log.exists(), log.read_text("utf-8")
