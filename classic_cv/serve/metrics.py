"""The figures of a service for Prometheus."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from classic_cv.serve.server import SHARED_FOLDER

if TYPE_CHECKING:
    from classic_cv.answer import Answer

T = TypeVar("T", Counter, Histogram)

STATES = ("closed", "open", "half-open")

BUCKETS = (
    *(0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03),
    *(0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0),
)
"""Upper bounds in seconds: fine around the milliseconds of one image, and around usual deadlines."""


class Metrics:
    """Counts what a service does.

    Several workers share their figures through the folder that ``SHARED_FOLDER`` names: each worker's
    ``render`` then sums up all of them; without it an instance counts for itself.
    """

    def __init__(self) -> None:
        self._shared = os.environ.get(SHARED_FOLDER)
        self._series: dict[tuple[Any, tuple[str, ...]], Any] = {}
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "classic_cv_requests_total",
            "Requests by the template of their route and the status of the answer.",
            ["endpoint", "status"],
            registry=registry,
        )
        self._request_seconds = Histogram(
            "classic_cv_request_seconds",
            "Seconds from the head of a request to the end of its answer.",
            ["endpoint"],
            registry=registry,
            buckets=BUCKETS,
        )
        self._stage_seconds = Histogram(
            "classic_cv_stage_seconds",
            "Seconds of the stages of requests and images.",
            ["stage"],
            registry=registry,
            buckets=BUCKETS,
        )
        self._images = Counter(
            "classic_cv_images_total",
            "Images by who answered: model, primary or fallback.",
            ["model", "served_by"],
            registry=registry,
        )
        self._fallbacks = Counter(
            "classic_cv_fallbacks_total",
            "Images that the primary did not answer, by the reason.",
            ["model", "reason"],
            registry=registry,
        )
        self._abstentions = Counter(
            "classic_cv_abstentions_total",
            "Images whose class is unknown, as the most probable one is less probable than --abstain, by who answered.",
            ["model", "served_by"],
            registry=registry,
        )
        self._breaker_state = Gauge(
            "classic_cv_breaker_state",
            "Workers whose breaker before the primary is in this state.",
            ["model", "state"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._in_flight = Gauge(
            "classic_cv_in_flight",
            "Requests that wait for an answer or are computed.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._agreement = Counter(
            "classic_cv_agreement_total",
            "Sampled images of the primary for which the fallback had the same label.",
            ["model", "agreed"],
            registry=registry,
        )
        self._loads = Counter(
            "classic_cv_model_loads_total",
            "Model files that were loaded, or refused while the model before them stays.",
            ["model", "outcome"],
            registry=registry,
        )

    def request(self, endpoint: str, status: int, seconds: float) -> None:
        """A request was answered; ``endpoint`` is the template of its route."""
        self._of(self._requests, endpoint, str(status)).inc()
        self._of(self._request_seconds, endpoint).observe(seconds)

    def stage(self, stage: str, seconds: float) -> None:
        """A stage of a request, such as reading its body, took so long."""
        self._of(self._stage_seconds, stage).observe(seconds)

    def answered(self, model: str, answer: Answer) -> None:
        """An image was answered: by whom, why, and how long its stages took."""
        self._of(self._images, model, answer.served_by).inc()
        if answer.reason is not None:
            self._of(self._fallbacks, model, answer.reason).inc()
        for stage, seconds in answer.stages.items():
            self.stage(stage, seconds)

    def abstained(self, model: str, served_by: str) -> None:
        """An answer to an image was that its class is unknown."""
        self._of(self._abstentions, model, served_by).inc()

    def in_flight(self, change: int) -> None:
        """So many requests more, or less, are in flight."""
        self._in_flight.inc(change)

    def breaker(self, model: str, state: str) -> None:
        """The breaker before a model's primary is in this state now."""
        for known in STATES:
            self._breaker_state.labels(model, known).set(known == state)

    def compared(self, model: str, agreed: bool) -> None:
        """The fallback was asked for an image that the primary had answered."""
        self._agreement.labels(model, "yes" if agreed else "no").inc()

    def loaded(self, model: str, ok: bool) -> None:
        """A model file was loaded, or refused."""
        self._loads.labels(model, "loaded" if ok else "refused").inc()

    def _of(self, metric: T, *labels: str) -> T:
        """The series of a metric with these labels, which are few; the library looks them up under a lock each time."""
        key = (metric, labels)
        if key not in self._series:
            self._series[key] = metric.labels(*labels)
        found: T = self._series[key]
        return found

    def render(self) -> tuple[bytes, str]:
        """The figures in Prometheus' text format, and its content type."""
        registry = self._registry
        if self._shared is not None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, self._shared)  # type: ignore[no-untyped-call]
        return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4
