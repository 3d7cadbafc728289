"""The service as one ASGI application: routes, the models behind them, and the guard before them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from classic_cv.serve.admission import Admission
from classic_cv.serve.answers import Answerer
from classic_cv.serve.classify import Classify
from classic_cv.serve.guard import Guard
from classic_cv.serve.inference import Inference
from classic_cv.serve.logs import RequestLog
from classic_cv.serve.metrics import Metrics
from classic_cv.serve.pages import Pages
from classic_cv.serve.registry import Registry
from classic_cv.serve.settings import ServeSettings

Handler = Callable[[Request], Awaitable[Response]]

MODEL = "/v2/models/{name}"
VERSION = "/v2/models/{name}/versions/{version}"


def create_app(settings: ServeSettings, registry: Registry, metrics: Metrics, log: RequestLog) -> ASGIApp:
    """The application; its lifespan starts and closes the registry.

    Raises:
        TokenError: the token file cannot be used.
    """
    admission, answerer = Admission(settings, metrics), Answerer(metrics, log)
    inference = Inference(registry, admission, answerer, settings.max_images)
    classify = Classify(registry, admission, answerer, settings.max_pixels)
    pages = Pages(settings, metrics)

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        registry.start()
        yield
        admission.close()
        # Waits for a look at a file that is under way.
        await asyncio.to_thread(registry.close)

    # What is asked for most comes first: routes are tried in their order.
    routes = [
        _post(f"{MODEL}/infer", inference.infer),
        _post("/classify", classify.classify),
        _post(f"{VERSION}/infer", inference.infer),
        _post("/explain", classify.explain),
        _get("/v2/health/live", inference.live),
        _get("/v2/health/ready", inference.ready),
        _get(f"{MODEL}/ready", inference.model_ready),
        _get(f"{VERSION}/ready", inference.model_ready),
        _get(MODEL, inference.model),
        _get(VERSION, inference.model),
        _get("/v2", inference.server),
        _get("/metrics", pages.metrics),
        _get("/", pages.start),
        _get("/docs", pages.docs),
        _get("/openapi.json", pages.openapi),
    ]
    router = Router(routes, redirect_slashes=False, lifespan=lifespan)
    return Guard(router, settings, metrics, log)


def _get(path: str, handler: Handler) -> Route:
    return Route(path, handler, methods=["GET"])


def _post(path: str, handler: Handler) -> Route:
    return Route(path, handler, methods=["POST"])
