"""The figures, read back from Prometheus' text format."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from classic_cv.answer import Answer
from classic_cv.serve.metrics import Metrics
from classic_cv.serve.server import SHARED_FOLDER

Figures = dict[tuple[str, ...], float]


def read(text: bytes) -> Figures:
    """Values by name and label values in the order of the label names."""
    return {
        (sample.name, *(sample.labels[key] for key in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def figures(metrics: Metrics) -> Figures:
    text, content_type = metrics.render()
    assert content_type.startswith("text/plain; version=0.0.4")
    return read(text)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def test_requests_are_counted_by_endpoint_and_status(metrics: Metrics) -> None:
    metrics.request("/classify", 200, 0.004)
    metrics.request("/classify", 200, 0.2)
    metrics.request("/classify", 503, 0.0001)

    found = figures(metrics)
    assert found["classic_cv_requests_total", "/classify", "200"] == 2
    assert found["classic_cv_requests_total", "/classify", "503"] == 1
    assert found["classic_cv_request_seconds_count", "/classify"] == 3
    assert found["classic_cv_request_seconds_sum", "/classify"] == pytest.approx(0.2041)
    assert found["classic_cv_request_seconds_bucket", "/classify", "0.005"] == 2


def test_an_answer_counts_by_who_gave_it_and_why_with_its_stages(metrics: Metrics) -> None:
    output = np.array([0.5, 0.5], np.float32)
    metrics.answered("digits", Answer(output, "primary", stages={"primary": 0.02}))
    metrics.answered("digits", Answer(output, "fallback", "late", stages={"decode": 0.001, "head": 0.0}))

    found = figures(metrics)
    assert found["classic_cv_images_total", "digits", "primary"] == 1
    assert found["classic_cv_images_total", "digits", "fallback"] == 1
    assert found["classic_cv_fallbacks_total", "digits", "late"] == 1
    assert ("classic_cv_fallbacks_total", "digits", "None") not in found
    assert found["classic_cv_stage_seconds_sum", "primary"] == 0.02
    assert found["classic_cv_stage_seconds_count", "decode"] == 1


def test_one_state_of_a_breaker_holds(metrics: Metrics) -> None:
    metrics.breaker("digits", "closed")
    metrics.breaker("digits", "open")

    found = figures(metrics)
    states = {
        state: found["classic_cv_breaker_state", "digits", state] for state in ("closed", "open", "half-open")
    }
    assert states == {"closed": 0, "open": 1, "half-open": 0}


def test_the_rest(metrics: Metrics) -> None:
    metrics.in_flight(1)
    metrics.in_flight(1)
    metrics.in_flight(-1)
    for agreed in (True, True, False):
        metrics.compared("digits", agreed)
    metrics.loaded("digits", True)
    metrics.loaded("digits", False)

    found = figures(metrics)
    assert found["classic_cv_in_flight",] == 1
    assert found["classic_cv_agreement_total", "yes", "digits"] == 2
    assert found["classic_cv_agreement_total", "no", "digits"] == 1
    assert found["classic_cv_model_loads_total", "digits", "loaded"] == 1
    assert found["classic_cv_model_loads_total", "digits", "refused"] == 1


def test_instances_count_for_themselves(metrics: Metrics) -> None:
    metrics.request("/", 200, 0.1)

    assert ("classic_cv_requests_total", "/", "200") not in figures(Metrics())


def test_workers_with_a_folder_are_summed_up(tmp_path: Path) -> None:
    work = (
        "from classic_cv.serve.metrics import Metrics\n"
        "metrics = Metrics()\n"
        "metrics.request('/classify', 200, 0.003)\n"
        "metrics.breaker('digits', 'closed')\n"
        "print(metrics.render()[0].decode())\n"
    )
    environment = {**os.environ, SHARED_FOLDER: str(tmp_path)}
    texts = [
        subprocess.run([sys.executable, "-c", work], env=environment, capture_output=True, check=True).stdout
        for _ in range(2)
    ]

    first, second = map(read, texts)
    assert first["classic_cv_requests_total", "/classify", "200"] == 1
    assert second["classic_cv_requests_total", "/classify", "200"] == 2
    assert second["classic_cv_request_seconds_bucket", "/classify", "0.003"] == 2
    assert second["classic_cv_breaker_state", "digits", "closed"] == 2
    assert second["classic_cv_breaker_state", "digits", "open"] == 0
