"""What every plugin may ask of the host: time, randomness, log and configuration.

In a component the functions ask the host, in a test the stand-in that `pintle.testing` has set. Do not use `time` and `random` of
the standard library in a policy: the one has no clock there, and the other repeats itself in each instance.
"""

from __future__ import annotations

from typing import Protocol


class Host(Protocol):
    def now(self) -> int: ...
    def random(self, count: int) -> bytes: ...
    def log(self, level: str, message: str) -> None: ...
    def config(self) -> str: ...


class _Nobody:
    def __getattr__(self, name: str):
        raise RuntimeError("there is no host here: in a test, use a cluster of pintle.testing")


_host: Host = _Nobody()  # type: ignore[assignment]


def use(host: Host) -> None:
    """Whom the functions below ask. For the component's entry and for `pintle.testing`."""
    global _host
    _host = host


def now() -> float:
    """Seconds since 1970-01-01T00:00:00Z."""
    return _host.now() / 1e9


def now_nanoseconds() -> int:
    """Nanoseconds since 1970-01-01T00:00:00Z."""
    return _host.now()


def random_bytes(count: int) -> bytes:
    """At most 4,096 at a time."""
    return _host.random(count)


def random_below(limit: int) -> int:
    """A whole number from 0 up to, not including, `limit`."""
    return int.from_bytes(_host.random(8), "little") % limit


def config() -> str:
    """`spec.config` of the Plugin object; empty when there is none."""
    return _host.config()


def debug(message: str) -> None:
    """To the plugin's log, which `pintle plugin logs` prints."""
    _host.log("debug", message)


def info(message: str) -> None:
    """To the plugin's log, which `pintle plugin logs` prints."""
    _host.log("info", message)


def warn(message: str) -> None:
    """To the plugin's log, which `pintle plugin logs` prints."""
    _host.log("warn", message)


def error(message: str) -> None:
    """To the plugin's log, which `pintle plugin logs` prints."""
    _host.log("error", message)
