"""Where a service listens."""

from __future__ import annotations

import ipaddress
import socket

from classic_cv.errors import ClassicCVError
from classic_cv.serve.settings import ServeSettings

BACKLOG = 2048
"""Connections that the system holds until they are accepted."""


class AddressError(ClassicCVError):
    """A service cannot listen where it was asked to."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to a name or an address, however it is written."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        return False
    return all(ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found)


def bound(settings: ServeSettings) -> socket.socket:
    """A socket that has the address, but does not listen yet.

    Raises:
        AddressError: the host has no address here, or the port is taken or not allowed.
    """
    host, port = settings.host, settings.port
    try:
        [(family, kind, protocol, _, address), *_] = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        raise AddressError(f"--host {host}: is no address of this machine ({_reason(error)})") from None
    listener = socket.socket(family, kind, protocol)
    try:
        # Otherwise the connections of a service that ended a moment ago would keep its port taken.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _taken(settings, error) from None
    return listener


def listen(listener: socket.socket, settings: ServeSettings) -> str:
    """Take connections; the address for clients.

    Raises:
        AddressError: another process was faster.
    """
    try:
        listener.listen(BACKLOG)
    except OSError as error:
        raise _taken(settings, error) from None
    host = settings.host.strip("[]")
    return f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"


def _taken(settings: ServeSettings, error: OSError) -> AddressError:
    return AddressError(
        f"cannot listen on {settings.host} port {settings.port} ({_reason(error)}): end what does, or give another "
        "--port"
    )


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
