"""The endpoints for one image: what it shows, and where that is seen."""

from __future__ import annotations

from typing import Annotated

import cv2
import msgspec
import numpy as np
from msgspec import UNSET, Meta, UnsetType
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from classic_cv.abstention import UNKNOWN
from classic_cv.answer import Answer
from classic_cv.errors import ImageError
from classic_cv.images import read_header
from classic_cv.serve.admission import Admission, Work
from classic_cv.serve.answers import Answerer
from classic_cv.serve.problems import JSON
from classic_cv.serve.query import query_of
from classic_cv.serve.reading import check_content_type, image_in
from classic_cv.serve.record import record_of
from classic_cv.serve.registry import Registry, Served

Probability = Annotated[float, Meta(ge=0, le=1)]

Abstained = Annotated[
    bool,
    Meta(
        description="Of a service that is started with --abstain: no class is probable enough, and `label` is "
        "`unknown`. `predictions` has the candidates."
    ),
]


class ClassifyQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Parameters of ``/classify``.

    Attributes:
        top: predictions at most, the most probable first.
        model: its name; the first model of the service by default.
    """

    top: Annotated[int, Meta(ge=1, le=1000)] = 5
    model: str | None = None


class ExplainQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Parameters of ``/explain``.

    Attributes:
        class_name: whose score is explained; the predicted class by default.
        model: its name; the first model of the service by default.
    """

    class_name: str | None = msgspec.field(default=None, name="class")
    model: str | None = None


class Prediction(msgspec.Struct):
    """A class and how probable it is."""

    label: str
    probability: Probability


class Classified(msgspec.Struct):
    """What an image shows.

    Attributes:
        model, version: who was asked.
        label, probability: of the most probable class; the label is ``unknown`` where the answer is to abstain.
        abstained: whether it is; left out where the service never abstains.
        predictions: the most probable classes in their order.
        served_by: ``model``; of a model behind a primary ``primary``, or ``fallback``.
        reason: why it was the fallback.
        ms: what the answer took, without the transport.
        request_id: under which the log has this.
    """

    model: str
    version: str
    label: str
    probability: Probability
    predictions: list[Prediction]
    served_by: str
    reason: str | None
    ms: float
    request_id: str
    abstained: Abstained | UnsetType = UNSET


class Estimated(msgspec.Struct):
    """The number that a regression estimates for an image; else as ``Classified``."""

    model: str
    version: str
    value: float
    served_by: str
    reason: str | None
    ms: float
    request_id: str


class Classify:
    """The handlers, over the models that there are."""

    def __init__(self, registry: Registry, admission: Admission, answerer: Answerer, max_pixels: int) -> None:
        self._registry = registry
        self._admission = admission
        self._answerer = answerer
        self._max_pixels = max_pixels

    async def classify(self, request: Request) -> Response:
        """What the image shows."""
        query, record = query_of(request, ClassifyQuery), record_of(request)
        served = self._asked(request, query.model)
        body = await self._body(request)

        def answer(work: Work) -> bytes:
            [found] = self._answerer.answers(served, [image_in(record, body)], work, record)
            return msgspec.json.encode(_told(served, found, query.top, record.request_id))

        return Response(await self._admission.compute(request, answer), media_type=JSON)

    async def explain(self, request: Request) -> Response:
        """A PNG of the image with what raises the score of a class in red, and what lowers it in blue."""
        query, record = query_of(request, ExplainQuery), record_of(request)
        served = self._asked(request, query.model)
        body = await self._body(request)

        def draw(work: Work) -> bytes:
            return _drawing(served, image_in(record, body), query.class_name, self._max_pixels, work)

        return Response(await self._admission.compute(request, draw), media_type="image/png")

    def _asked(self, request: Request, name: str | None) -> Served:
        served = self._registry.get(name)
        record_of(request).model = served.name
        return served

    async def _body(self, request: Request) -> bytes:
        check_content_type(record_of(request))
        return await self._admission.body(request)


def _told(served: Served, answer: Answer, top: int, request_id: str) -> Classified | Estimated:
    """The answer for a client."""
    ms = round(1000 * answer.seconds, 3)
    if served.model.task == "regression":
        value = float(answer.output)
        return Estimated(served.name, served.version, value, answer.served_by, answer.reason, ms, request_id)
    ranked = _ranked(answer.output, served.model.class_names, top)
    abstained = served.abstains(answer)
    return Classified(
        model=served.name,
        version=served.version,
        label=UNKNOWN if abstained else ranked[0].label,
        probability=ranked[0].probability,
        predictions=ranked,
        served_by=answer.served_by,
        reason=answer.reason,
        ms=ms,
        request_id=request_id,
        abstained=UNSET if served.abstain is None else abstained,
    )


def _ranked(output: NDArray[np.float32], names: tuple[str, ...], top: int) -> list[Prediction]:
    order = np.argsort(-output, kind="stable")[:top]
    # A primary's may be beyond 0 and 1 by what rounding makes.
    shares = np.clip(output, 0, 1)
    return [Prediction(names[k], float(shares[k])) for k in order]


def _drawing(served: Served, image: bytes, class_name: str | None, max_pixels: int, work: Work) -> bytes:
    """The PNG of an explanation.

    Raises:
        ImageError: the image cannot be used; or is over the limit of pixels, which its header tells.
        ExplanationError: the model cannot be explained, or has no such class.
    """
    try:
        read_header(image, max_pixels=max_pixels)
        explanation = served.model.explain(image, class_name)
        work.check()
        drawn = explanation.draw(image)
    except ImageError as error:
        raise ImageError("image 0", error.reason) from None
    return cv2.imencode(".png", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))[1].tobytes()
