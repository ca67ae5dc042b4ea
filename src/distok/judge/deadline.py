"""HTTP that keeps to a deadline: the socket's own time limit starts anew at every byte, so an answer may trickle for hours."""

import socket
import threading
from contextlib import suppress
from typing import Any

from requests import Session
from requests.adapters import HTTPAdapter

_mine = threading.local()  # the deadline of the request that this thread is sending


class Deadline:
    """A context in which this thread's requests are cut off after some seconds, whatever part of an answer they wait for.

    Looking up a name and the handshake of TLS have the socket's own time limit.

    Attributes:
        over: whether that has happened; the request then fails, or its answer ends early.
    """

    def __init__(self, seconds: float) -> None:
        self.over = False
        self._connection: Any = None
        self._socket: Any = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> "Deadline":
        _mine.deadline = self
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        _mine.deadline = None
        with self._lock:  # from now on the connection may be another request's
            self._connection = self._socket = None

    def watch(self, connection: Any) -> None:
        """Cut off this connection when the time is over; at once where it is already."""
        with self._lock:
            self._connection, self._socket = connection, connection.sock
            if self.over:
                self._cut()

    def _end(self) -> None:
        with self._lock:
            self.over = True
            self._cut()

    def _cut(self) -> None:
        # A connection that will not be used again forgets its socket before the answer is read.
        reached = getattr(self._connection, "sock", None) or self._socket
        reached = getattr(reached, "socket", reached)  # of TLS within TLS, the one beneath
        if isinstance(reached, socket.socket):
            with suppress(OSError):  # closed already
                # Not its own method: that of a TLS socket takes the cipher away from the thread that reads.
                socket.socket.shutdown(reached, socket.SHUT_RDWR)


class _Watched:
    """A connection that tells the deadline of its thread of itself, before every request and around connecting."""

    def connect(self) -> None:
        _watch(self)
        super().connect()  # type: ignore[misc]
        _watch(self)

    def putrequest(self, *args: Any, **kwargs: Any) -> None:
        _watch(self)
        super().putrequest(*args, **kwargs)  # type: ignore[misc]


def _watch(connection: Any) -> None:
    deadline = getattr(_mine, "deadline", None)
    if deadline is not None:
        deadline.watch(connection)


class _Adapter(HTTPAdapter):
    """Makes watched connections, with and without a proxy."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        _watch_pools(self.poolmanager)

    def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
        known = proxy in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not known:
            _watch_pools(manager)
        return manager


def _watch_pools(manager: Any) -> None:
    def watched(pool: Any) -> Any:
        connection = type(pool.ConnectionCls.__name__, (_Watched, pool.ConnectionCls), {})
        return type(pool.__name__, (pool,), {"ConnectionCls": connection})

    manager.pool_classes_by_scheme = {scheme: watched(pool) for scheme, pool in manager.pool_classes_by_scheme.items()}


def open_session() -> Session:
    """A session whose requests keep to the :class:`Deadline` around them."""
    session = Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter())
    return session
