"""Where a service listens."""

from __future__ import annotations

import socket

import pytest

from classic_cv.serve.addresses import AddressError, bound, is_loopback, listen
from classic_cv.serve.settings import ModelSource, ServeSettings


def settings(host: str = "127.0.0.1", port: int = 0) -> ServeSettings:
    return ServeSettings(models=(ModelSource(name="m", path="/m"),), host=host, port=port)


def test_it_listens_only_when_it_is_told_to() -> None:
    with bound(settings()) as listener:
        address = listener.getsockname()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=5)
        assert listen(listener, settings()) == f"http://127.0.0.1:{address[1]}"
        socket.create_connection(address, timeout=5).close()


def test_a_taken_port_is_an_error_that_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(AddressError, match=rf"cannot listen on 127\.0\.0\.1 port {port} \(.*in use\)"):
            bound(settings(port=port))


def test_two_that_start_at_once_do_not_both_listen() -> None:
    with bound(settings()) as first:
        port = first.getsockname()[1]
        with bound(settings(port=port)) as second:
            listen(first, settings(port=port))
            with pytest.raises(AddressError, match="in use"):
                listen(second, settings(port=port))


def test_a_foreign_address_is_an_error() -> None:
    with pytest.raises(AddressError, match=r"192\.0\.2\.1"):
        bound(settings("192.0.2.1"))
    with pytest.raises(AddressError, match="is no address of this machine"):
        bound(settings("no host"))


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_ipv6_addresses_are_shown_in_brackets(host: str) -> None:
    try:
        listener = bound(settings(host))
    except AddressError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with listener:
        assert listen(listener, settings(host)) == f"http://[::1]:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.0.0.5", True), ("[::1]", True), ("0.0.0.0", False), ("example.org", False)],
)
def test_loopback_addresses_are_known(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
