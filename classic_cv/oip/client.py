"""A client for one classifier behind the Open Inference Protocol, version 2, over HTTP."""

from __future__ import annotations

import http.client
import os
import re
import ssl
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn
from urllib.parse import urlsplit

import msgspec
import numpy as np
from numpy.typing import NDArray

from classic_cv.errors import ParameterError
from classic_cv.images import DEFAULT_MAX_PIXELS
from classic_cv.oip.description import (
    ModelMetadata,
    Plan,
    TensorMetadata,
    plan_of,
    read_metadata,
    takes_binary,
)
from classic_cv.oip.messages import HEADER_LENGTH, read_response, write_request
from classic_cv.oip.tensors import OipError, Tensor
from classic_cv.oip.wire import Answered, Connection

__all__ = ["Address", "ModelMetadata", "OipClient", "TensorMetadata", "address_of"]

MAX_RESPONSE = 64 * 2**20
"""Bytes of the response to an inference at most."""

MAX_METADATA = 4 * 2**20
"""Bytes of metadata at most."""

SAID = 300
"""Characters of a server's error that a message repeats."""

_PATH = re.compile(r"(?P<root>(?:/[^/]+)*?/v2)/models/[^/]+(?:/versions/[^/]+)?")


class Address(NamedTuple):
    """Where a model is.

    Attributes:
        url: for messages.
        host, port: of the server.
        is_tls: whether it is ``https``.
        root: path of the server's metadata.
        path: of the model.
    """

    url: str
    host: str
    port: int
    is_tls: bool
    root: str
    path: str


def address_of(url: str) -> Address:
    """The address in a text such as ``http://host:8000/v2/models/NAME``, or the same after ``oip:``.

    Raises:
        ParameterError: it is no such address.
    """
    text = url.removeprefix("oip:")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        _no_address(url, "it cannot be read")
    if parts.username is not None or parts.password is not None:
        _no_address("…", "a name and a password are not taken")
    if parts.scheme not in ("http", "https") or not host:
        _no_address(url, "it begins with no http:// and host")
    path = parts.path.rstrip("/")
    found = _PATH.fullmatch(path)
    if found is None or parts.query or parts.fragment or not re.fullmatch(r"[!-~]+", text):
        _no_address(url, "its path is not that of a model")
    is_tls = parts.scheme == "https"
    standard = http.client.HTTPS_PORT if is_tls else http.client.HTTP_PORT
    return Address(text, host, standard if port is None else port, is_tls, found["root"], path)


def _no_address(url: str, why: str) -> NoReturn:
    raise ParameterError(
        f"{url!r} is no address of a model: {why}; expected is http://HOST:PORT/v2/models/NAME[/versions/VERSION]"
    )


class OipClient:
    """Asks a model behind an address for the probabilities of images; any number of threads may use it at a time.

    Connections are kept and used again. Models are taken that have one input, BYTES of encoded images or UINT8
    [-1, height, width, 3] of a fixed size, and an output ``probabilities``, or just one that is FP32 with two axes.
    Nothing is asked before the first call.

    Args:
        url: ``http://host:port/v2/models/NAME[/versions/VERSION]``, also ``https`` and after ``oip:``.
        timeout: seconds for ``metadata``, and for each image in ``probabilities``.
        token: shown as a bearer token; None for none.
        max_pixels: larger images are not decoded.

    Raises:
        ParameterError: ``url`` is no such address, or the token no text that a header may hold.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 10.0,
        token: str | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> None:
        self._address = address_of(url)
        if token is not None and not re.fullmatch(r"[!-~]+", token):
            raise ParameterError(
                "the token has characters that a header cannot hold: printable ASCII is allowed"
            )
        self._timeout = timeout
        self._max_pixels = max_pixels
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._context = ssl.create_default_context() if self._address.is_tls else None
        self._idle: list[Connection] = []
        self._is_closed = False
        self._plan: Plan | None = None
        _clients.add(self)

    @property
    def is_described(self) -> bool:
        """Whether the next call needs not ask what the model is."""
        return self._plan is not None

    def metadata(self) -> ModelMetadata:
        """What the server says of the model now.

        Raises:
            TimeoutError: no answer in time.
            OipError: the server cannot be reached, refuses, or has no such model that classifies images.
        """
        return self._planned(time.monotonic() + self._timeout).metadata

    def probabilities(self, images: Sequence[Any]) -> NDArray[np.float32]:
        """Probabilities of images, each encoded bytes or uint8 pixels: float32 (n, n_classes), in the server's order.

        They are asked for one by one: how many a server takes at a time is not known.

        Raises:
            ParameterError: no images.
            ImageError, TimeoutError, OipError: as for ``call``.
        """
        if not len(images):
            raise ParameterError("no images: give at least one")
        return np.stack([self.call(image, self._timeout) for image in images])

    def call(self, image: Any, timeout: float) -> NDArray[np.float32]:
        """Probabilities of one image, as the server gives them: float32 (n_classes,), in its order of the classes.

        Args:
            image: encoded bytes, which are not decoded here where the server takes them as they are; or uint8 pixels.
            timeout: seconds for all of it, what the server may have to be asked before included.

        Raises:
            TimeoutError: no answer in time.
            OipError: the server cannot be reached, refuses, or answers something else, or with another version of the
                model than ``metadata`` told of.
            ImageError: the image cannot be used; only where it has to be decoded here.
        """
        return self.call_named(image, timeout)[0]

    def call_named(self, image: Any, timeout: float) -> tuple[NDArray[np.float32], tuple[str, ...] | None]:
        """What ``call`` gives, and its class names; None where the server does not tell them.

        They are of the description that the image was sent by, whatever other threads have learned since.
        """
        until = time.monotonic() + timeout
        plan = self._plan or self._planned(until)
        tensor = plan.tensor(image, self._max_pixels)
        try:
            return self._inferred(plan, tensor, until), plan.metadata.class_names
        except TimeoutError:
            # Asking again what is known would make the next call late as well.
            raise
        except BaseException:
            # What answers after trouble may be another model.
            self.forget()
            raise

    def forget(self) -> None:
        """Let the next call ask anew what the model is."""
        self._plan = None

    def close(self) -> None:
        """Close the connections that are kept; a call that is under way closes its own."""
        self._is_closed = True
        self.close_idle()

    def close_idle(self) -> None:
        """Close the connections that are kept, in this process: one that it was forked from goes on using its own."""
        while self._idle:
            self._idle.pop().close()

    def _planned(self, until: float) -> Plan:
        """How the model is asked, by what the server says now."""
        answered = self._exchange("GET", self._address.path, until, MAX_METADATA)
        metadata = read_metadata(self._good(answered))
        # A gateway may let through what belongs to models alone: JSON is understood by all.
        server = self._exchange("GET", self._address.root, until, MAX_METADATA)
        plan = plan_of(metadata, server.status == http.client.OK and takes_binary(server.body))
        self._plan = plan
        return plan

    def _inferred(self, plan: Plan, tensor: Tensor, until: float) -> NDArray[np.float32]:
        body, length = write_request([tensor], [plan.output], plan.binary)
        kind = "application/json" if length is None else "application/octet-stream"
        headers = {"Content-Type": kind} | ({} if length is None else {HEADER_LENGTH: str(length)})
        answered = self._exchange("POST", f"{self._address.path}/infer", until, MAX_RESPONSE, body, headers)
        content = self._good(answered, answered.status)
        return plan.row(read_response(content, _header_length(answered)))

    def _good(self, answered: Answered, status: int | None = None) -> bytes:
        """The body of a response that is no error, for which ``status`` is told otherwise."""
        if answered.status != http.client.OK:
            message = f"{self._address.url} answers {answered.status}: {_error_in(answered.body)}"
            raise OipError(message, status)
        return answered.body

    def _exchange(
        self,
        method: str,
        path: str,
        until: float,
        limit: int,
        body: bytes | None = None,
        headers: Mapping[str, str] = {},
    ) -> Answered:
        """A request and its response on a connection that is kept, or on a new one."""
        connection = self._connection()
        try:
            answered = connection.exchange(method, path, body, {**self._headers, **headers}, until, limit)
        except TimeoutError:
            raise TimeoutError(f"{self._address.url}: no answer in time") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = str(error) or type(error).__name__
            raise OipError(f"{self._address.url} cannot be reached, or gives no HTTP: {why[:SAID]}") from None
        self._keep(connection)
        return answered

    def _connection(self) -> Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return Connection(self._address.host, self._address.port, self._context)

    def _keep(self, connection: Connection) -> None:
        self._idle.append(connection)
        if self._is_closed:
            self.close()


_clients: weakref.WeakSet[OipClient] = weakref.WeakSet()


def _after_fork() -> None:
    """Two processes on one connection would get each other's answers."""
    for client in list(_clients):
        client.close_idle()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _header_length(answered: Answered) -> int | None:
    text = answered.headers.get(HEADER_LENGTH)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise OipError(f"{HEADER_LENGTH} of the response is no number")
    return int(text)


def _error_in(body: bytes) -> str:
    """What a server says went wrong, or the beginning of whatever it says."""
    try:
        said = msgspec.json.decode(body, type=dict[str, Any])["error"]
    except (ValueError, KeyError, RecursionError):
        said = body[: 4 * SAID].decode("utf-8", "replace")
    return str(said)[:SAID]
