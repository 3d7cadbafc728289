"""A model at an address as a primary: its columns in the order wanted, whatever the server's order is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from classic_cv.errors import ClassicCVError, ParameterError
from classic_cv.primary import Image, columns_of
from classic_cv.task import listed

if TYPE_CHECKING:
    from classic_cv.oip.client import OipClient

SECONDS = 1.0
"""How long the address is waited for when it is asked for its class names."""

EXCHANGES = 3
"""Of a call before which the model's and the server's metadata are read."""


class _Order(NamedTuple):
    """Class names as the address tells them, and where those wanted are among them."""

    names: tuple[str, ...] | None
    columns: NDArray[np.intp]


class Asked:
    """A model behind the Open Inference Protocol, whose class names are read when it is asked first, or again.

    An address that cannot be reached now may come up later. After any trouble but a late answer the client reads the
    class names again: what comes back may be another model.

    Args:
        client: of the address, with a time-out of ``SECONDS``.
        class_names: in the order wanted.
        url: for messages.

    Raises:
        ParameterError: the address tells its class names, and they are others.
    """

    def __init__(self, client: OipClient, class_names: Sequence[str], url: str) -> None:
        self._client = client
        self._class_names = class_names
        self._url = url
        self._order: _Order | None = None
        try:
            names = client.metadata().class_names
        except (ClassicCVError, OSError):
            # Not now: the first image asks again.
            return
        self._columns(names)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what the address does not say and is assumed, as far as it has been asked."""
        order = self._order
        if order is None or order.names is not None:
            return ()
        return (
            f"{self._url}: its class_names are not said: its columns are taken for {listed(self._class_names)}, the "
            "fallback's order",
        )

    def ask(self, image: Image, timeout: float) -> NDArray[np.float32]:
        """Probabilities of one image: float32 (n_classes,), or another number of them where the server gives so many.

        Raises:
            TimeoutError: no answer within ``timeout`` seconds.
            OSError, ClassicCVError: the address cannot be reached, or gives no probabilities.
        """
        if not self._client.is_described:
            # Too late for this image, perhaps: but given up, it would leave the next one to begin anew.
            timeout = EXCHANGES * max(timeout, SECONDS)
        found, names = self._client.call_named(image, timeout)
        columns = self._columns(names)
        return found[columns] if found.shape == columns.shape else found

    def _columns(self, names: tuple[str, ...] | None) -> NDArray[np.intp]:
        """Where the classes wanted are among those that the answer has."""
        order = self._order
        if order is None or order.names != names:
            order = self._order = _Order(names, self._columns_of(names))
        return order.columns

    def _columns_of(self, names: tuple[str, ...] | None) -> NDArray[np.intp]:
        if names is None:
            return np.arange(len(self._class_names))
        try:
            return columns_of(names, self._class_names, self._url)
        except ParameterError:
            # The right model may be there next time.
            self._client.forget()
            raise
