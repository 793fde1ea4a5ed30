"""Imported by Python at its start where this folder is in PYTHONPATH: nothing leaves the machine.

Every attempt to look a name up or to reach an address that is not this machine's is refused and
written, with where it came from, to the file that OFFLINE_LOG names.
"""

from __future__ import annotations

import ipaddress
import os
import sys
import traceback

LOG = os.environ.get("OFFLINE_LOG", "")


def _is_here(host: object) -> bool:
    name = host.decode() if isinstance(host, bytes) else str(host or "localhost")
    try:
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return name in ("localhost", os.uname().nodename)


def _look(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        if not isinstance(address, tuple) or _is_here(address[0]):  # a path: this machine's
            return
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        address = arguments[0]
        if _is_here(address):
            return
    else:
        return
    with open(LOG, "a", encoding="utf-8") as opened:
        opened.write(f"{event} {address}\n{''.join(traceback.format_stack(limit=12))}\n")
    raise OSError(101, f"the network is cut: {event} {address}")


if LOG:
    sys.addaudithook(_look)
