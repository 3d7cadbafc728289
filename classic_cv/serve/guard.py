"""Before and after every request: who may ask, what is asked for, and what of it is noted."""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
import time
import traceback

from starlette.requests import ClientDisconnect
from starlette.routing import Match, Route, Router
from starlette.types import Receive, Scope, Send

from classic_cv.serve.addresses import is_loopback
from classic_cv.serve.answering import Answering
from classic_cv.serve.logs import RequestLog
from classic_cv.serve.metrics import Metrics
from classic_cv.serve.problems import Problem, internal_error, problem_of, refusal
from classic_cv.serve.record import Record
from classic_cv.serve.settings import ServeSettings
from classic_cv.serve.tokens import read_token

OPEN = frozenset(["/", "/v2/health/live", "/v2/health/ready"])
"""Routes that need no token."""

CLIENT_GONE = 499
"""The status that is noted, but never sent, where the client went away."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


def allowed_hosts(settings: ServeSettings) -> frozenset[str] | None:
    """Names, without ports, that requests may be addressed to; None for any.

    Where only this machine can connect, a page of the web still can, through its visitor's browser, if its name is made
    to lead to the loopback; its requests then show that name.
    """
    if settings.allowed_hosts:
        return frozenset(name_of_host(host) for host in settings.allowed_hosts)
    if is_loopback(settings.host):
        return frozenset([*_LOOPBACK_NAMES, name_of_host(settings.host)])
    return None


def name_of_host(host: str) -> str:
    """The name in a Host header: without the port, in small letters; IPv6 addresses in brackets."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[: host.find("]") + 1]
    name, colon, port = host.partition(":")
    # More than one colon is an IPv6 address as settings may have it.
    return f"[{host}]" if colon and ":" in port else name.rstrip(".")


class Guard:
    """The outermost part of the service, in plain ASGI.

    It finds the route itself, so that whatever happens then is noted under the route's template: no path that somebody
    made up gets into the log or the metrics.

    Attributes:
        routes: in the order in which they are tried.

    Raises:
        TokenError: the token file cannot be used.
    """

    def __init__(self, router: Router, settings: ServeSettings, metrics: Metrics, log: RequestLog) -> None:
        self._router = router
        self.routes = [route for route in router.routes if isinstance(route, Route)]
        self._metrics = metrics
        self._log = log
        self._hosts = allowed_hosts(settings)
        self._token = None if settings.token_file is None else read_token(settings.token_file).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; lifespan messages are the router's, and WebSockets it closes."""
        if scope["type"] != "http":
            await self._router(scope, receive, send)
            return
        start = time.perf_counter()
        headers = dict(scope["headers"])
        record = Record(_request_id(headers), scope["method"], headers)
        record.put_into(scope)
        answering = Answering(record, send)
        try:
            route = self._admitted(scope, record)
            await route.app(scope, receive, answering.send)
        except ClientDisconnect:
            record.client_gone = True
        except asyncio.CancelledError:
            # The time to drain has passed, and the server gives up what is in flight.
            await self._refuse(ended(), record, scope, receive, answering)
        except Exception as error:
            await self._refuse(error, record, scope, receive, answering)
        finally:
            self._note(record, time.perf_counter() - start)

    def _admitted(self, scope: Scope, record: Record) -> Route:
        """The route of a request that may take it.

        Raises:
            Problem: it may not, or there is none.
        """
        match, route = self._found(scope)
        if route is not None:
            record.endpoint = route.path
        self._check_host(scope, record)
        if record.endpoint not in OPEN:
            self._check_token(record)
        if route is None:
            raise Problem(404, "there is nothing at this path; /docs says what there is")
        if match is Match.PARTIAL:
            allowed = ", ".join(sorted(route.methods or ()))
            raise Problem(405, f"this path takes {allowed} only", {"Allow": allowed})
        return route

    def _found(self, scope: Scope) -> tuple[Match, Route | None]:
        for route in self.routes:
            match, child_scope = route.matches(scope)
            if match is not Match.NONE:
                scope.update(child_scope)
                return match, route
        return Match.NONE, None

    def _check_host(self, scope: Scope, record: Record) -> None:
        if sum(name == b"host" for name, _ in scope["headers"]) > 1:
            raise Problem(400, "the request has several Host headers; exactly one is allowed")
        if self._hosts is None:
            return
        host = name_of_host(record.headers.get(b"host", b"").decode("latin-1"))
        if host not in self._hosts:
            raise Problem(
                421, "this service does not answer for that host; --allow-host adds names that it has"
            )

    def _check_token(self, record: Record) -> None:
        if self._token is None:
            return
        scheme, _, shown = record.headers.get(b"authorization", b"").partition(b" ")
        # Compared in any case, and in a time that does not tell how much of it is right.
        is_right = hmac.compare_digest(shown.strip(), self._token)
        if scheme.lower() != b"bearer" or not is_right:
            raise Problem(
                401, "a token is needed: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"}
            )

    async def _refuse(
        self, error: Exception, record: Record, scope: Scope, receive: Receive, answering: Answering
    ) -> None:
        """Answer with what went wrong, or say it in the log alone where it is ours."""
        problem = problem_of(error)
        if problem is None:
            self._log.event(
                "error",
                request_id=record.request_id,
                endpoint=record.endpoint,
                error=repr(error),
                traceback="".join(traceback.format_exception(error)),
            )
        if answering.has_started:
            raise error
        response = internal_error(record.request_id) if problem is None else refusal(problem)
        await response(scope, receive, answering.send)

    def _note(self, record: Record, seconds: float) -> None:
        status = record.status or CLIENT_GONE
        self._metrics.request(record.endpoint, status, seconds)
        self._log.request(
            request_id=record.request_id,
            method=record.method,
            endpoint=record.endpoint,
            status=status,
            ms=1000 * seconds,
            bytes=record.received,
            model=record.model,
            images=record.images,
            served_by=record.served_by,
            reason=record.reason,
            client_gone=record.client_gone,
        )


def ended() -> Problem:
    """The problem of a request that was not answered before the service ended."""
    return Problem(
        503, "the service is ending: try again in a second", {"Retry-After": "1", "Connection": "close"}
    )


def _request_id(headers: dict[bytes, bytes]) -> str:
    """The client's own, where it is harmless in logs."""
    own = headers.get(b"x-request-id", b"").decode("latin-1")
    return own if _REQUEST_ID.fullmatch(own) else secrets.token_hex(8)
