"""Smaller networks: channels pruned, numbers of 8 bits; wider teachers, and what such a change gives.

Everything here takes a network and returns another one, or measures two; the training around it is elsewhere.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from classic_cv.errors import ArtifactError, RecipeError
from classic_cv.heads.hybrid import FEATURES, PIXELS, SCORES, make_session
from classic_cv.images import resize
from classic_cv.neural.architecture import (
    MOST_CHANNELS,
    STEP,
    ConvNorm,
    Dense,
    Network,
    Plain,
    Residual,
    Separable,
    block_shapes,
)
from classic_cv.neural.export import stripped
from classic_cv.neural.samples import Samples
from classic_cv.neural.settings import NetworkSettings
from classic_cv.onnx_file import inspect
from classic_cv.timing import available_cores

Inputs = Mapping[str, NDArray[Any]]
"""What a stored network is fed: ``pixels`` float32 (n, planes, h, w), perhaps ``features`` float32 (n, n_features)."""

# Pruning.


def pruned(network: Network, share: float) -> Network:
    """A network with ``share`` fewer channels per stage: those of the smallest weights in norm are left out.

    The importance of a channel is the sum of the absolute weights of its filter, times what the normalisation scales
    its output by (Li et al. 2017, arXiv:1608.08710). Channels that shortcuts add to each other go together, by the sum
    over their filters, every convolution's brought to a mean of 1. Stages of a multiple of ``STEP`` channels keep a
    multiple of it; every stage keeps one channel at least.

    Args:
        network: with its normalisations, on training or evaluation, and so is the result. It is not changed.
        share: at least 0, below 1; 0 gives the same scores.

    Returns:
        A new network in contiguous memory with weights, statistics and columns of the linear layer of the channels
        kept, and the same mean and scale of pixels.

    Raises:
        ValueError: ``share`` is not in its range, or the normalisations are folded into the convolutions.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share is {share}, expected at least 0 and below 1")
    settings = msgspec.structs.replace(network.settings, channels=_channels_left(network.settings, share))
    n_planes = len(network.mean)
    small = Network(settings, n_planes, network.n_features, network.linear.out_features)
    with torch.no_grad():
        kept = _channels_kept(network, small)
        small.mean.copy_(network.mean)
        small.scale.copy_(network.scale)
        _copy_layer(network.first, small.first, torch.arange(n_planes), kept[0])
        blocks = zip(network.blocks, small.blocks, strict=True)
        for (block, narrow), (before, after) in zip(blocks, pairwise(kept), strict=True):
            _copy_block(block, narrow, before, after)
        columns = _columns_kept(network, kept[-1])
        small.linear.weight.copy_(network.linear.weight[:, columns])
        small.linear.bias.copy_(network.linear.bias)
    return small.train(network.training)


def _channels_left(settings: NetworkSettings, share: float) -> tuple[int, ...]:
    """How many channels each stage keeps."""
    channels = [_left(n, share) for n in settings.channels]
    if settings.block != "dense":
        return tuple(channels)
    # Dense blocks share out what a stage grows by, rounded: none of them can give more channels than it has.
    had, end = _growths(settings), 0
    for stage, depth in enumerate(settings.blocks):
        own = slice(end, end + depth)
        while any(
            new > old
            for new, old in zip(
                _growths(msgspec.structs.replace(settings, channels=tuple(channels)))[own],
                had[own],
                strict=True,
            )
        ):
            channels[stage] -= 1
        end += depth
    return tuple(channels)


def _left(n: int, share: float) -> int:
    step = 1 if n % STEP else STEP
    return step * max(1, round((1 - share) * n / step))


def _growths(settings: NetworkSettings) -> list[int]:
    return [n_out - n_in for n_in, n_out, _ in block_shapes(settings)]


def _channels_kept(network: Network, small: Network) -> list[Tensor]:
    """Which channels are kept, ascending, of the first convolution's output and of that of each block."""
    widths = [n_out for _, n_out, _ in block_shapes(small.settings)]
    first = _importance(network.first)
    kept = [_largest(first, small.first.conv.out_channels)]
    if network.settings.block == "dense":
        for block, width in zip(network.blocks, widths, strict=True):
            assert isinstance(block, Dense)
            n_in, before = block.body.conv.in_channels, kept[-1]
            chosen = _largest(_importance(block.body), width - len(before))
            kept.append(torch.cat([before, n_in + chosen]))
        return kept
    # Outputs that an identity joins are one group, whose channels are chosen once.
    groups: list[tuple[int, int, Tensor]] = [(1, len(kept[0]), first)]
    for block, width in zip(network.blocks, widths, strict=True):
        importance = _block_importance(block)
        if _is_tied(block):
            n, _, total = groups.pop()
            groups.append((n + 1, width, total + importance))
        else:
            groups.append((1, width, importance))
    return [chosen for n, width, total in groups for chosen in [_largest(total, width)] * n]


def _is_tied(block: nn.Module) -> bool:
    """Whether a block adds its input to its output, channel by channel."""
    if isinstance(block, Residual):
        return isinstance(block.shortcut, nn.Identity)
    return isinstance(block, Separable) and block.shortcut


def _block_importance(block: nn.Module) -> Tensor:
    """Of each channel of a block's output, summed over what is added up in it."""
    if isinstance(block, Plain):
        return _importance(block.body)
    if isinstance(block, Separable):
        return _importance(block.pointwise, block.depthwise)
    assert isinstance(block, Residual)
    total = _importance(block.second)
    return total + _importance(block.shortcut) if isinstance(block.shortcut, ConvNorm) else total


def _importance(layer: ConvNorm, depthwise: nn.Conv2d | None = None) -> Tensor:
    """Absolute weights of each filter times the scale of its normalisation, of mean 1: float32 (n_out,).

    With a depthwise convolution before it, the weights are those of both as one convolution.
    """
    norm = _norm(layer)
    weights = layer.conv.weight.abs()
    if depthwise is not None:
        weights = weights * depthwise.weight.abs().sum(dim=(1, 2, 3))[None, :, None, None]
    sizes = weights.sum(dim=(1, 2, 3))
    assert norm.running_var is not None
    scaled = sizes * norm.weight.abs() / torch.sqrt(norm.running_var + norm.eps)
    return scaled / scaled.mean().clamp(min=torch.finfo(scaled.dtype).tiny)


def _norm(layer: ConvNorm) -> nn.BatchNorm2d:
    if not isinstance(layer.norm, nn.BatchNorm2d):
        raise ValueError("the normalisations are folded into the convolutions: prune the network before that")
    return layer.norm


def _largest(importance: Tensor, n: int) -> Tensor:
    """Indices of the n largest, ascending; of equal ones the first."""
    order = torch.argsort(importance, descending=True, stable=True)
    return order[:n].sort().values


def _columns_kept(network: Network, channels: Tensor) -> Tensor:
    """Columns of the linear layer: mean and perhaps maximum of each channel, then the features."""
    n_pooled = network.linear.in_features - network.n_features
    n_channels = n_pooled // 2 if network.settings.pooling == "mean-max" else n_pooled
    pooled = [channels + start for start in range(0, n_pooled, n_channels)]
    return torch.cat([*pooled, torch.arange(n_pooled, network.linear.in_features)])


def _copy_block(block: nn.Module, narrow: nn.Module, before: Tensor, after: Tensor) -> None:
    """Weights of a block for the channels kept before and after it."""
    if isinstance(block, Plain):
        assert isinstance(narrow, Plain)
        _copy_layer(block.body, narrow.body, before, after)
    elif isinstance(block, Dense):
        assert isinstance(narrow, Dense)
        _copy_layer(block.body, narrow.body, before, after[len(before) :] - block.body.conv.in_channels)
    elif isinstance(block, Separable):
        assert isinstance(narrow, Separable)
        narrow.depthwise.weight.copy_(block.depthwise.weight[before])
        _copy_layer(block.pointwise, narrow.pointwise, before, after)
    else:
        assert isinstance(block, Residual)
        assert isinstance(narrow, Residual)
        # What lies between the two convolutions is tied to nothing.
        between = _largest(_importance(block.first), narrow.first.conv.out_channels)
        _copy_layer(block.first, narrow.first, before, between)
        _copy_layer(block.second, narrow.second, between, after)
        if isinstance(block.shortcut, ConvNorm):
            assert isinstance(narrow.shortcut, ConvNorm)
            _copy_layer(block.shortcut, narrow.shortcut, before, after)


def _copy_layer(layer: ConvNorm, narrow: ConvNorm, ins: Tensor, outs: Tensor) -> None:
    narrow.conv.weight.copy_(layer.conv.weight[outs][:, ins])
    state = _norm(layer).state_dict()
    # One number, of batches seen, has no channels.
    narrow.norm.load_state_dict({name: value[outs] if value.ndim else value for name, value in state.items()})


# Numbers of 8 bits.

QUANTIZED = ["Conv", "Add", "Relu", "MaxPool", "Concat"]
"""Operators that work on 8 bits; those between convolutions are among them, or numbers would go back and forth."""

POOLING = ("ReduceMean", "ReduceMax", "GlobalAveragePool", "GlobalMaxPool")
"""From these on everything stays in float32."""


def quantized(
    network: bytes,
    calibration: Sequence[Inputs],
    operators: Sequence[str] = QUANTIZED,
    kept_float: Callable[[Any], list[str]] | None = None,
) -> bytes:
    """The convolutional part in 8 bits: weights int8 per channel, what flows between them uint8.

    Static quantisation by ONNX Runtime with ``QuantizeLinear`` and ``DequantizeLinear`` around operators; ranges are
    the smallest and largest values on the calibration images. Signed numbers between convolutions take twice the time
    on x86. Weights have 7 bits of their 8: without VNNI instructions, x86 processors add products of uint8 and int8
    in pairs to 16 bits, which 8 bits would overflow, so the same file would score otherwise there than here
    (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html, reduce_range).
    The pooling, what joins the features, and the linear layer stay in float32: raw features of any ranges would share
    one scale.

    The same network and images give the same bytes on one machine.

    Args:
        network: an ONNX file, with the default arguments one as ``to_onnx`` gives it.
        calibration: batches of its inputs, one at least.
        operators: that work on 8 bits.
        kept_float: names, in a ModelProto, of nodes that stay in float32 all the same; by default those from the
            pooling on.

    Raises:
        ValueError: no calibration batch.
        ArtifactError: the result is no network that may be stored.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    if not calibration:
        raise ValueError("no calibration batch given, expected at least one")
    model = _named(onnx.load_from_string(network))
    with tempfile.TemporaryDirectory() as folder, _quiet(), _threads_of_the_process():
        path = Path(folder, "quantized.onnx")
        quantize_static(
            model,
            path,
            _reader(calibration),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(operators),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=(kept_float or _from_pooling_on)(model),
        )
        result = _compact(stripped(onnx.load(path)))
    inspect(result, "quantised network")
    return result


@contextmanager
def _threads_of_the_process() -> Iterator[None]:
    """ONNX Runtime's sessions with as many threads as the process has cores, where they do not say how many.

    The calibrator gives no number, and then ONNX Runtime pins a thread to every core of the machine, those included
    that the process was told to leave to others.
    """
    import onnxruntime

    original = onnxruntime.SessionOptions

    def limited() -> Any:
        options = original()
        options.intra_op_num_threads = available_cores()
        return options

    onnxruntime.SessionOptions = limited
    try:
        yield
    finally:
        onnxruntime.SessionOptions = original


def _named(model: Any) -> Any:
    """The model with a name for each node, marked as prepared, so that the quantiser does not advise to do it."""
    for number, node in enumerate(model.graph.node):
        node.name = f"node{number}"
    model.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    return model


def _from_pooling_on(model: Any) -> list[str]:
    """Names of the nodes that pool, and of all that see their results."""
    names: list[str] = []
    after: set[str] = set()
    for node in model.graph.node:
        if node.op_type in POOLING or after.intersection(node.input):
            names.append(node.name)
            after.update(node.output)
    return names


def _reader(batches: Sequence[Inputs]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(batches)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            batch = next(self.left, None)
            return None if batch is None else dict(batch)

    return Reader()


def _compact(network: bytes) -> bytes:
    """The network with numbers for names, and equal scales and zero points stored once: a third of a small file."""
    import onnx

    quantization = inspect(network).quantization
    model = onnx.load_from_string(network)
    graph = model.graph
    own = {value.name for value in [*graph.input, *graph.output]}
    names = {name: name for name in [*own, ""]}

    def number() -> str:
        # Some exporters call inputs and outputs by numbers themselves.
        return f"{len(names)}_" if str(len(names)) in own else str(len(names))

    stored: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    kept = []
    for tensor in graph.initializer:
        if tensor.name in quantization:
            content = tensor.data_type, tuple(tensor.dims), onnx.numpy_helper.to_array(tensor).tobytes()
            if content in stored:
                names[tensor.name] = stored[content]
                continue
            stored[content] = number()
        names[tensor.name] = number()
        kept.append(onnx.TensorProto.FromString(tensor.SerializeToString()))
        kept[-1].name = names[tensor.name]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    for node in graph.node:
        node.name = ""
        node.input[:] = [names[name] for name in node.input]
        for name in node.output:
            names.setdefault(name, number())
        node.output[:] = [names[name] for name in node.output]
    data: bytes = model.SerializeToString(deterministic=True)
    return data


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the quantiser logs to the root logger; whatever else is logged there meanwhile is let through."""
    root, handler = logging.getLogger(), logging.NullHandler()

    def foreign(record: logging.LogRecord) -> bool:
        return "onnxruntime" not in record.pathname

    # A handler has to be there: the first line would give the root logger one for good otherwise.
    root.addHandler(handler)
    root.addFilter(foreign)
    try:
        yield
    finally:
        root.removeFilter(foreign)
        root.removeHandler(handler)


# What it gives.

WARM_UP = 20
"""Runs before those that are timed."""

MOST_LOST = 0.005
"""An error that grows by so much, or more, is not made up for by a smaller or faster network."""


def milliseconds(network: bytes, inputs: Inputs, repeats: int = 300) -> float:
    """Median milliseconds of one image on one thread.

    Args:
        network: an ONNX file.
        inputs: one image or more, of which the first is taken.
        repeats: how often it is timed.
    """
    return _timed([network], inputs, repeats)[0]


def compared(before: bytes, after: bytes, inputs: Inputs, repeats: int = 300) -> tuple[float, float]:
    """``milliseconds`` of two networks, timed in turns, so that whatever else the machine does hits both alike."""
    first, second = _timed([before, after], inputs, repeats)
    return first, second


def _timed(networks: Sequence[bytes], inputs: Inputs, repeats: int) -> list[float]:
    one = {name: np.ascontiguousarray(array[:1]) for name, array in inputs.items()}
    sessions = [make_session(network) for network in networks]
    times = np.zeros((WARM_UP + repeats, len(sessions)))
    for turn in range(len(times)):
        # Every other turn backwards: the second of two finds other things in the caches than the first.
        for k in range(len(sessions))[:: 1 if turn % 2 else -1]:
            start = time.perf_counter()
            sessions[k].run(None, one)
            times[turn, k] = time.perf_counter() - start
    return [1000 * float(seconds) for seconds in np.median(times[WARM_UP:], axis=0)]


@dataclass(frozen=True)
class Measured:
    """A network before or after a change.

    Attributes:
        error: on the validation part, as ``objective.Figures`` has it.
        n_bytes: of its file.
        milliseconds: of one image on one thread.
    """

    error: float
    n_bytes: int
    milliseconds: float


def pays(before: Measured, after: Measured, most_lost: float = MOST_LOST) -> bool:
    """Whether a change makes a network smaller or faster, and its error grows by less than ``most_lost``."""
    gains = after.n_bytes < before.n_bytes or after.milliseconds < before.milliseconds
    return gains and after.error - before.error < most_lost


def compression_entry(
    name: str, before: Measured, after: Measured, kept: bool | None = None
) -> dict[str, Any]:
    """A change of a network as a report tells it, plain data; a score is 1 less the error.

    Args:
        name: of the change.
        before, after: the two networks.
        kept: whether the changed one is taken; None where ``pays`` decides.
    """
    return {
        "name": name,
        "score_before": 1 - before.error,
        "score_after": 1 - after.error,
        "bytes_before": before.n_bytes,
        "bytes_after": after.n_bytes,
        "ms_before": before.milliseconds,
        "ms_after": after.milliseconds,
        "kept": pays(before, after) if kept is None else kept,
    }


# Teachers.

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
"""Of red, green and blue from 0 to 1, as the published classifiers of torchvision and timm expect them."""

TEACHER_ROWS = 64
"""Images that a teacher scores at a time."""

LEAST_PROBABILITY = 1e-7
"""Smaller ones count as this, whose logarithm a network can still learn."""

Scorer = Callable[[NDArray[np.uint8]], NDArray[Any]]
"""What a teacher says of pixels uint8 (n, height, width, planes)."""


def widened(settings: NetworkSettings, factor: float) -> NetworkSettings:
    """The shape of a wider teacher: channels times ``factor``, in multiples of ``STEP``, of any size.

    Raises:
        ValueError: ``factor`` is not above 0.
    """
    if not factor > 0:
        raise ValueError(f"factor is {factor}, expected above 0")
    channels = tuple(min(MOST_CHANNELS, STEP * max(1, round(factor * n / STEP))) for n in settings.channels)
    return msgspec.structs.replace(settings, channels=channels, max_parameters="none")


def teacher_scores(path: str, samples: Samples, n_outputs: int) -> NDArray[np.float32]:
    """A classifier's scores of each training image and of its left-right mirror image: float32 (n, 2, n_outputs).

    A file that ends in ``.safetensors`` is a model of classic-cv; its scores are the logarithms of its calibrated
    probabilities, whatever head it has. Any other is an ONNX file with one input of float32 images and one output of
    logits or probabilities, recognised by their sum (with one output, by their range); of probabilities the logarithm
    is taken. A network that classic-cv exported (input ``pixels``) gets values from 0 to 255. Others get them from 0
    to 1, standardised with ``IMAGENET_MEAN`` and ``IMAGENET_DEVIATION``, as (n, 3, h, w) or (n, h, w, 3); images are
    resized to its height and width where these are fixed.

    Args:
        path: of the file. Its classes have to be those of the training images, in the order of their names.
        samples: the training images; their features are not used.
        n_outputs: scores per image: as many as classes, or 1 of two classes: the log-odds of the second. A teacher
            with two outputs will do for these.

    Raises:
        RecipeError: the file cannot be read or run, its inputs are others, or it gives another number of scores.
        MissingExtraError: ONNX Runtime is not installed.
    """
    is_model = path.lower().endswith(".safetensors")
    scored = _by_model(path, samples) if is_model else _by_network(path, samples)
    if not np.isfinite(scored).all():
        raise _refused(path, "gives scores that are no finite numbers; expected are logits or probabilities")
    scores = _logits(scored)
    if n_outputs == 1 and scores.shape[2] == 2:
        scores = scores[:, :, 1:] - scores[:, :, :1]
    if scores.shape[2] != n_outputs:
        allowed = "1 or 2" if n_outputs == 1 else str(n_outputs)
        raise _refused(
            path,
            f"gives {scores.shape[2]} scores per image, allowed are {allowed}; give a classifier of the same classes",
        )
    return scores


def _refused(path: str, why: str) -> RecipeError:
    return RecipeError(f"head.compression.teacher = {path!r}: {why}")


def _by_model(path: str, samples: Samples) -> NDArray[Any]:
    """Probabilities by a classic-cv model: (n, 2, n_classes)."""
    from classic_cv.model import load

    try:
        model = load(path)
    except ArtifactError as error:
        raise _refused(path, f"is no model that can be loaded ({error}); give another file") from None
    if model.task != "classification":
        raise _refused(path, "estimates a number; a teacher has to be a classifier of the same classes")

    def score(pixels: NDArray[np.uint8]) -> NDArray[Any]:
        images = pixels[..., 0] if pixels.shape[3] == 1 else pixels
        return model.predict_proba(list(images))

    return _both_sides(score, samples.pixels, TEACHER_ROWS)


def _by_network(path: str, samples: Samples) -> NDArray[Any]:
    """Raw outputs of an ONNX file: (n, 2, number of outputs)."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        why = f"cannot be read ({error.strerror}); give the path of an ONNX file or of a classic-cv model"
        raise _refused(path, why) from None
    try:
        # Before a runtime sees it: a recipe may come from elsewhere, and so may what it names.
        inspect(data)
        session = make_session(data)
    except ArtifactError as error:
        raise _refused(path, f"is no network that can be run ({error})") from None
    taken = _taken(path, session, samples)

    def score(pixels: NDArray[np.uint8]) -> NDArray[Any]:
        images = taken.prepared(pixels)
        short = taken.n_rows - len(images) if taken.has_fixed_rows else 0
        # A network for batches of one size gets images of zeros at the end of the last one.
        images = np.pad(images, [(0, short), (0, 0), (0, 0), (0, 0)])
        try:
            [out] = session.run(None, {taken.name: images})
        except Exception as error:
            raise _refused(path, f"cannot be run on images of shape {images.shape} ({error})") from None
        out = np.asarray(out)[: len(pixels)]
        out = out[:, None] if out.ndim == 1 else out
        if out.ndim != 2 or len(out) != len(pixels):
            raise _refused(path, f"gives an output of shape {out.shape}, allowed is (n, number of classes)")
        return out

    return _both_sides(score, samples.pixels, taken.n_rows)


@dataclass(frozen=True)
class _Taken:
    """How a network takes images: the input's name, layout and range."""

    name: str
    n_rows: int
    has_fixed_rows: bool
    planes_first: bool
    n_planes: int
    size: tuple[int, int]
    is_own: bool

    def prepared(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Pixels uint8 (n, height, width, planes) as the network takes them."""
        images = np.stack([_colored(resize(_flat(image), self.size), self.n_planes) for image in pixels])
        values: NDArray[Any] = images.astype(np.float32)
        if not self.is_own:
            values = (values / 255 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_DEVIATION)
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2) if self.planes_first else values, np.float32)


def _flat(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image)


def _colored(image: NDArray[np.uint8], n_planes: int) -> NDArray[np.uint8]:
    """(height, width) or (height, width, 3) with the number of planes that a network takes."""
    if n_planes == 1 and image.ndim == 3:
        image = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
    if image.ndim == 2:
        return np.repeat(image[:, :, None], n_planes, axis=2)
    return image


def _taken(path: str, session: Any, samples: Samples) -> _Taken:
    """How a network takes images.

    Raises:
        RecipeError: it takes no images, or more than them, or gives more than scores.
    """
    inputs, outputs = session.get_inputs(), session.get_outputs()
    names = [value.name for value in inputs]
    if FEATURES in names:
        why = "takes features too; give the model file (.safetensors), which knows how to compute them"
        raise _refused(path, why)
    if len(inputs) != 1 or len(outputs) != 1:
        gives = [value.name for value in outputs]
        raise _refused(path, f"has inputs {names} and outputs {gives}, allowed is one of each; export it so")
    [value] = inputs
    shape = list(value.shape)
    is_own = names == [PIXELS] and [out.name for out in outputs] == [SCORES]
    first = len(shape) == 4 and shape[1] in ((1, 3) if is_own else (3,))
    last = len(shape) == 4 and not first and not is_own and shape[3] == 3
    if value.type != "tensor(float)" or not (first or last):
        raise _refused(
            path,
            f"has an input {value.type} of shape {tuple(shape)}, allowed is tensor(float) of (n, 3, h, w) or "
            "(n, h, w, 3); export it so",
        )
    sides = zip(shape[2:] if first else shape[1:3], samples.pixels.shape[1:3], strict=True)
    height, width = (side if isinstance(side, int) else own for side, own in sides)
    is_fixed = isinstance(shape[0], int)
    n_rows = shape[0] if is_fixed else TEACHER_ROWS
    n_planes = shape[1] if first else 3
    return _Taken(value.name, n_rows, is_fixed, first, n_planes, (height, width), is_own)


def _both_sides(score: Scorer, pixels: NDArray[np.uint8], n_rows: int) -> NDArray[Any]:
    """Scores of images and of their mirror images: (n, 2, number of outputs)."""

    def of_part(start: int) -> NDArray[Any]:
        part = pixels[start : start + n_rows]
        return np.stack([score(part), score(np.ascontiguousarray(part[:, :, ::-1]))], axis=1)

    # As many threads as OpenCV is allowed: limits on threads hold here as well.
    with ThreadPoolExecutor(max(1, cv2.getNumThreads())) as pool:
        return np.concatenate(list(pool.map(of_part, range(0, len(pixels), n_rows))))


def _logits(values: NDArray[Any]) -> NDArray[np.float32]:
    """Logits (n, 2, k) of logits or probabilities; one column of probabilities becomes log-odds."""
    wide = values.astype(np.float64)
    if values.shape[2] == 1:
        # Logits from 0 to 1 only would call every image one of the second class.
        if wide.min() >= 0 and wide.max() <= 1:
            wide = np.clip(wide, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
            wide = np.log(wide) - np.log1p(-wide)
    elif wide.min() >= 0 and bool(np.allclose(wide.sum(axis=2), 1, rtol=0, atol=1e-3)):
        wide = np.log(np.maximum(wide, LEAST_PROBABILITY))
    return wide.astype(np.float32)
