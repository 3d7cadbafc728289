"""A model at an address as a primary: its columns in the order wanted, whatever the server's order is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from classic_cv.errors import ClassicCVError, ParameterError
from classic_cv.primary import Image, columns_of

if TYPE_CHECKING:
    from classic_cv.oip.client import OipClient

SECONDS = 1.0
"""How long the address is waited for when it is asked for its class names."""


class Asked:
    """A model behind the Open Inference Protocol, whose class names are read when it is asked first, or again.

    An address that cannot be reached now may come up later. After any trouble its class names are read again: what
    comes back may be another model.

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
        self._columns: NDArray[np.intp] | None = None
        try:
            self._columns = self._read_columns()
        except ParameterError:
            raise
        except (ClassicCVError, OSError):
            # Not now: the first image asks again.
            self._columns = None

    def ask(self, image: Image, timeout: float) -> NDArray[np.float32]:
        """Probabilities of one image: float32 (n_classes,), or another number of them where the server gives so many.

        Raises:
            TimeoutError: no answer within ``timeout`` seconds.
            OSError, ClassicCVError: the address cannot be reached, or gives no probabilities.
        """
        columns = self._columns
        if columns is None:
            columns = self._read_columns()
            # Too late for this image, perhaps: but given up, it would leave the next one to begin anew.
            timeout = SECONDS
        try:
            found = self._client.call(image, timeout)
        except BaseException:
            self._columns = None
            raise
        self._columns = columns
        return found[columns] if found.shape == columns.shape else found

    def _read_columns(self) -> NDArray[np.intp]:
        names = self._client.metadata().class_names
        if names is None:
            return np.arange(len(self._class_names))
        return columns_of(names, self._class_names, self._url)
