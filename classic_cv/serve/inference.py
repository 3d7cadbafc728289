"""The endpoints of the Open Inference Protocol, version 2 (REST)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from classic_cv.abstention import UNKNOWN, abstains
from classic_cv.answer import Answer
from classic_cv.oip.images import images_of
from classic_cv.oip.messages import HEADER_LENGTH, read_request, write_response
from classic_cv.oip.tensors import Tensor
from classic_cv.serve.admission import Admission, Work
from classic_cv.serve.answers import Answerer
from classic_cv.serve.problems import JSON, Problem, json_response
from classic_cv.serve.record import Record, record_of
from classic_cv.serve.registry import Registry, Served

BINARY = "application/octet-stream"

EXTENSIONS = ("binary_tensor_data",)

LONGEST_LENGTH = 18
"""Digits of the length of the JSON at most."""


class Live(msgspec.Struct):
    """Whether the service runs."""

    live: bool


class Ready(msgspec.Struct):
    """Whether the service, or a model of it, can answer."""

    ready: bool


class Models(msgspec.Struct):
    """What the service has besides what the protocol tells: the names of the models, the default first."""

    models: tuple[str, ...]


class ServerMetadata(msgspec.Struct):
    """What the service is."""

    name: str
    version: str
    extensions: tuple[str, ...]
    parameters: Models


class TensorMetadata(msgspec.Struct):
    """An input or output of a model; -1 in ``shape`` is the number of images."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class ModelParameters(msgspec.Struct):
    """What a model learned: ``classification`` or ``regression``, and the classes in the order of probabilities; and
    below which probability the label is ``unknown``, where it ever is.
    """

    class_names: tuple[str, ...]
    task: str
    abstain: float | UnsetType = UNSET


class ModelMetadata(msgspec.Struct):
    """What a model takes and gives."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]
    parameters: ModelParameters


class Inference:
    """The handlers, over the models that there are."""

    def __init__(self, registry: Registry, admission: Admission, answerer: Answerer, max_images: int) -> None:
        self._registry = registry
        self._admission = admission
        self._answerer = answerer
        self._max_images = max_images

    async def server(self, request: Request) -> Response:
        """What the service is, and the names of its models."""
        models = Models(self._registry.names)
        return json_response(ServerMetadata("classic-cv", package_version(), EXTENSIONS, models))

    async def live(self, request: Request) -> Response:
        """The service runs."""
        return json_response(Live(True))

    async def ready(self, request: Request) -> Response:
        """Whether the service can answer for all of its models."""
        ready = self._registry.ready
        return json_response(Ready(ready), 200 if ready else 503)

    async def model(self, request: Request) -> Response:
        """What a model takes and gives."""
        return json_response(metadata_of(self._asked(request)))

    async def model_ready(self, request: Request) -> Response:
        """A model that is there can answer."""
        self._asked(request)
        return await self.ready(request)

    async def infer(self, request: Request) -> Response:
        """Labels and probabilities, or numbers, of the images in the request."""
        served = self._asked(request)
        record = record_of(request)
        header_length = _header_length(record)
        body = await self._admission.body(request)

        def answer(work: Work) -> tuple[bytes, int | None]:
            asked = read_request(body, header_length)
            answers = self._answerer.answers(served, images_of(asked, self._max_images), work, record)
            parameters = None if record.reason is None else {"reason": record.reason}
            outputs = outputs_of(served, answers)
            return write_response(served.name, served.version, asked, outputs, parameters)

        content, length = await self._admission.compute(request, answer)
        if length is None:
            return Response(content, media_type=JSON)
        return Response(content, headers={HEADER_LENGTH: str(length)}, media_type=BINARY)

    def _asked(self, request: Request) -> Served:
        """The model in the path.

        Raises:
            UnknownModelError: there is none of that name, or version.
        """
        served = self._registry.get(request.path_params["name"], request.path_params.get("version"))
        record_of(request).model = served.name
        return served


@functools.cache
def package_version() -> str:
    """The version of classic-cv. Looking it up takes longer than most of the start, so it is not done there."""
    from importlib.metadata import version

    return version("classic-cv")


def metadata_of(served: Served) -> ModelMetadata:
    """A model as the protocol describes it."""
    model = served.model
    described = [TensorMetadata("served_by", "BYTES", (-1,))]
    if model.task == "regression":
        described.insert(0, TensorMetadata("value", "FP32", (-1,)))
    else:
        described.insert(0, TensorMetadata("probabilities", "FP32", (-1, len(model.class_names))))
        described.insert(0, TensorMetadata("label", "BYTES", (-1,)))
    if served.abstain is not None:
        described.append(TensorMetadata("abstained", "BOOL", (-1,)))
    abstain = UNSET if served.abstain is None else served.abstain
    return ModelMetadata(
        name=served.name,
        versions=(served.version,),
        platform="classic-cv",
        inputs=(TensorMetadata("image", "BYTES", (-1,)),),
        outputs=tuple(described),
        parameters=ModelParameters(tuple(model.class_names), model.task, abstain),
    )


def outputs_of(served: Served, answers: Sequence[Answer]) -> list[Tensor]:
    """The answers as tensors whose first axis are the images."""
    values = np.stack([answer.output for answer in answers]).astype(np.float32, copy=False)
    served_by = _texts([answer.served_by for answer in answers])
    if served.model.task == "regression":
        return [Tensor("value", "FP32", values), served_by]
    classes = served.model.class_names
    names = [classes[k] for k in values.argmax(axis=1)]
    probabilities = Tensor("probabilities", "FP32", values)
    if served.abstain is None:
        return [_texts(names, "label"), probabilities, served_by]
    abstained = abstains(values, served.abstain)
    labels = [UNKNOWN if unknown else name for name, unknown in zip(names, abstained, strict=True)]
    return [_texts(labels, "label"), probabilities, served_by, Tensor("abstained", "BOOL", abstained)]


def _texts(texts: Sequence[str], name: str = "served_by") -> Tensor:
    array: Any = np.empty(len(texts), object)
    array[:] = [text.encode() for text in texts]
    return Tensor(name, "BYTES", array)


def _header_length(record: Record) -> int | None:
    """The length of the JSON before binary tensors, as the head of the request says it.

    Raises:
        Problem: it is no number.
    """
    value = record.headers.get(HEADER_LENGTH.lower().encode())
    if value is None:
        return None
    if not value.isdigit() or len(value) > LONGEST_LENGTH:
        raise Problem(400, f"{HEADER_LENGTH} is not a number of bytes")
    return int(value)
