"""What a service is started with: the models, where it listens, and its limits."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Seconds = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]

PLACES = 6
"""Requests in flight: some more than there are cores, so that these are busy; many more would only wait longer."""

PLACES_WAITING = 16
"""The same where most of them wait for a primary, and compute nothing."""


class ModelSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model file behind a name.

    Attributes:
        name: in paths of requests.
        path: of the model file, absolute.
        primary: an ONNX file, a model file, or the address of a model behind the Open Inference Protocol, such as
            ``http://host:8000/v2/models/NAME``, that the model is the fallback of; None for no primary.
    """

    name: str
    path: str
    primary: str | None = None


class ServeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of a service.

    Attributes:
        models: at least one; the first answers where a request names none.
        host, port: where it listens; port 0 takes a free one.
        workers: processes.
        threads: of each worker that compute; None for the cores, divided among the workers.
        deadline: seconds until a model with a primary has to answer for an image.
        mode: ``fallback`` computes the own answer when the primary's does not come; ``hedged`` computes both at once.
        sample: share of the requests that a primary answers whose image the fallback is asked for as well.
        abstain: images whose most probable class is less probable than this are ``unknown``, whoever answers; None for
            always the most probable class.
        token_file: a file with the bearer token that requests have to show; None for none.
        primary_token_file: a file with the bearer token that is shown to primaries behind an address.
        allowed_hosts: names that requests may have in their Host header; empty for those of the loopback where that is
            what the service is bound to, and for any where it is not.
        max_body: bytes of a request's body at most.
        max_pixels: of an image at most.
        max_images: of a request at most.
        max_in_flight: requests of a worker that wait for an answer or are computed, one more gets 503; None for
            ``PLACES``, or ``PLACES_WAITING`` where a model has a primary.
        max_reading: requests of a worker whose body is being received at most.
        header_timeout, body_timeout: seconds until the head, and then the body, of a request must have come.
        drain: seconds that requests in flight have to end after SIGTERM.
        poll: seconds between two looks at the model files.
        quiet: no line per request in the log.
    """

    models: Annotated[tuple[ModelSource, ...], Meta(min_length=1)]
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8000
    workers: Count = 1
    threads: Count | None = None
    deadline: Seconds = 0.05
    mode: Literal["fallback", "hedged"] = "fallback"
    sample: Annotated[float, Meta(ge=0, le=1)] = 0.02
    abstain: Annotated[float, Meta(gt=0, le=1)] | None = None
    token_file: str | None = None
    primary_token_file: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    max_body: Count = 16 * 2**20
    max_pixels: Count = 50_000_000
    max_images: Count = 64
    max_in_flight: Count | None = None
    max_reading: Count = 64
    header_timeout: Seconds = 5.0
    body_timeout: Seconds = 10.0
    drain: Seconds = 10.0
    poll: Seconds = 0.5
    quiet: bool = False

    @property
    def has_primary(self) -> bool:
        """Whether any model is the fallback of another."""
        return any(source.primary is not None for source in self.models)

    @property
    def places(self) -> int:
        """Requests in flight of a worker at most."""
        if self.max_in_flight is not None:
            return self.max_in_flight
        return PLACES_WAITING if self.has_primary else PLACES
