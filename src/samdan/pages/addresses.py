"""Whether an address is this machine's alone."""

from __future__ import annotations

import ipaddress

NOT_LOOPBACK = (
    "{host} is an address that other machines reach: whoever has the page's address can {what}, "
    "and http can be read on the way. Add --allow-network in a network that you trust, or leave "
    "out --host and forward the port (ssh -L)"
)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
