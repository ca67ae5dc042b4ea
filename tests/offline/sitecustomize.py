"""Refuses every connection that leaves this machine: in the tests' own process, and in every Python they start (PYTHONPATH).

Loopback and Unix sockets stay open. It listens to the interpreter's own audit events, which no library can go around in Python.
"""

import sys
from typing import Any

LOOKUPS = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyname_ex")
SENDS = ("socket.connect", "socket.sendto", "socket.sendmsg")


class NetworkRefused(BaseException):
    """Not an Exception: a library that falls back on its cache when a connection fails would else hide the attempt."""


def local(host: object) -> bool:
    """Whether a host is this machine: none, its name, or an address of the loopback range."""
    import ipaddress
    import socket

    name = host.decode() if isinstance(host, bytes) else host
    if not name or name in ("localhost", socket.gethostname()):
        return True
    try:
        return ipaddress.ip_address(str(name).partition("%")[0]).is_loopback
    except ValueError:
        return False


def refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """The audit hook."""
    if event in LOOKUPS:
        host = arguments[0]
    elif event in SENDS and isinstance(arguments[1], tuple):  # a Unix socket's address is a string
        host = arguments[1][0]
    else:
        return
    if not local(host):
        raise NetworkRefused(f"a test reached for {host!r} ({event}); tests run offline: use a local folder or a loopback server")


sys.addaudithook(refuse)
