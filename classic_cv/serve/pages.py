"""What the service tells of itself: the page, the description of its endpoints, and its figures."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from classic_cv.serve.metrics import Metrics
from classic_cv.serve.page import page
from classic_cv.serve.problems import JSON
from classic_cv.serve.settings import ServeSettings


class Pages:
    """The handlers. What is made once and kept is made on a thread at the first request, not at the start."""

    def __init__(self, settings: ServeSettings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics

    async def start(self, request: Request) -> Response:
        """The page for people."""
        html, headers = await asyncio.to_thread(page)
        return Response(html, headers=headers)

    async def docs(self, request: Request) -> Response:
        """The description for people."""
        from classic_cv.serve.docs import docs_page

        html, headers = await asyncio.to_thread(docs_page, self._settings)
        return Response(html, headers=headers)

    async def openapi(self, request: Request) -> Response:
        """The description for programs."""
        from classic_cv.serve.openapi import encoded_document

        return Response(await asyncio.to_thread(encoded_document, self._settings), media_type=JSON)

    async def metrics(self, request: Request) -> Response:
        """The figures for Prometheus."""
        text, content_type = await asyncio.to_thread(self._metrics.render)
        return Response(text, headers={"Content-Type": content_type})
