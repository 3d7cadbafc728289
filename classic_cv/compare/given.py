"""What somebody else has trained: an ONNX classifier with a description; predictions in a file are read elsewhere."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import msgspec
import numpy as np
from msgspec import Meta

from classic_cv.compare.predictions import SUM_TOLERANCE
from classic_cv.dataset._dataset import class_name
from classic_cv.deep.predictor import Interface, OnnxPredictor, are_probabilities, read_network, write_network
from classic_cv.errors import ArtifactError, RecipeError
from classic_cv.heads.hybrid import make_session
from classic_cv.task import listed

Channels = Annotated[tuple[float, ...], Meta(min_length=1, max_length=3)]
Side = Annotated[int, Meta(ge=1, le=4096)]

DTYPES: Mapping[str, Literal["uint8", "float32"]] = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}
"""Element types that a network may take, as ONNX Runtime calls them."""

NOISE_IMAGES = 2
"""Images of noise that a network is tried on before it is stored."""


class GivenSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How an ONNX classifier takes images and gives classes; None where the file or a default says it.

    Attributes:
        size: pixels of both sides, or height and width.
        resize: ``squash`` (the default) or ``crop``.
        layout: order of the axes of its input.
        mean, std: for float input, per channel, of pixels from 0 to 1.
        scale: in place of mean and std, the value of white: 1 or 255.
        output: ``probabilities`` or ``logits``.
        classes: their names in the order of the outputs; the data's order by default.
    """

    size: Side | Annotated[tuple[Side, ...], Meta(min_length=2, max_length=2)] | None = None
    resize: Literal["squash", "crop"] | None = None
    layout: Literal["NHWC", "NCHW"] | None = None
    mean: Channels | None = None
    std: Channels | None = None
    scale: Literal[1, 255] | None = None
    output: Literal["probabilities", "logits"] | None = None
    classes: tuple[str, ...] | None = None


def given_settings(file: Path, flags: GivenSettings | None = None) -> GivenSettings:
    """What the TOML beside an ONNX file says (the same name with the suffix ``.toml``); flags override it.

    Raises:
        RecipeError: the TOML is not valid; the message names the file and the key.
    """
    path = file.with_suffix(".toml")
    table: dict[str, Any] = {}
    if path.exists():
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise RecipeError(f"{path}: cannot be read as TOML ({error})") from None
    said = {} if flags is None else msgspec.structs.asdict(flags)
    said = {key: value for key, value in said.items() if value is not None}
    if "scale" in said and not {"mean", "std"} & said.keys():
        # The two ways to say it exclude each other, so a flag of one replaces a line of the other.
        table = {key: value for key, value in table.items() if key not in ("mean", "std")}
    if {"mean", "std"} & said.keys() and "scale" not in said:
        table.pop("scale", None)
    try:
        return msgspec.convert({**table, **said}, GivenSettings)
    except msgspec.ValidationError as error:
        keys = ", ".join(GivenSettings.__struct_fields__)
        raise RecipeError(f"{path}: {error}; its keys are {keys}") from None


def store_given(flags: GivenSettings, file: Path, task_class_names: Sequence[str], folder: Path) -> list[str]:
    """Check an ONNX classifier, try it on noise, and write the folder that ``OnnxPredictor`` loads.

    Args:
        flags: what is said beside the TOML, see ``given_settings``.
        file: with one input of RGB or gray images and one output (n, n_classes), all weights within.
        task_class_names: by class number.
        folder: exists, and is empty.

    Returns:
        sentences on what was not said and is assumed.

    Raises:
        ArtifactError: the file holds more than a plain network, or cannot be run as it is described.
        RecipeError: something has to be said, or what is said does not fit the network or the classes.
    """
    settings = given_settings(file, flags)
    network = read_network(file)
    session = make_session(network)
    taken = _taken(file, settings, session)
    normalised = _normalisation(file, settings, taken)
    columns, notes = _columns(file, settings, task_class_names)
    if settings.resize is None:
        notes.append('resize is not said: "squash", images are brought to the network\'s size without a crop')
    _check_outputs(file, session, task_class_names)
    interface = Interface(
        **taken,
        **normalised,
        resize=settings.resize or "squash",
        n_classes=len(task_class_names),
        output="logits",
        classes=columns,
    )
    found = _output_of(file, network, interface)
    output = settings.output or found
    if output == "probabilities" != found:
        _wrong(file, f"gives no probabilities for images of noise, as output says, but {found}")
    if settings.output is None:
        notes.append(f"output is not said: {found}, by what the network gives for images of noise")
    write_network(folder, network, msgspec.structs.replace(interface, output=output))
    return notes


def _wrong(file: Path, why: str) -> NoReturn:
    raise RecipeError(f"{file}: {why}; say it in {file.with_suffix('.toml').name} beside it, or with a flag")


def _taken(file: Path, settings: GivenSettings, session: Any) -> dict[str, Any]:
    """Input, dtype, layout, channels and size, from the graph and the settings."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        names = [value.name for value in inputs], [value.name for value in outputs]
        raise ArtifactError(
            f"{file}: has inputs {names[0]} and outputs {names[1]}, allowed is one of each; export it so"
        )
    shape = list(inputs[0].shape)
    if inputs[0].type not in DTYPES or len(shape) != 4:
        raise ArtifactError(
            f"{file}: takes {inputs[0].type} of shape {shape}, allowed are tensor(float) and tensor(uint8) with four "
            "axes, for images, height, width and channels; export it so"
        )
    layout = settings.layout or _layout(file, shape)
    height, width, channels = shape[1:] if layout == "NHWC" else (*shape[2:], shape[1])
    if channels not in (1, 3):
        _wrong(
            file, f"its input has the shape {shape}, so with layout {layout} there are not 1 or 3 channels"
        )
    size = _size(file, settings, [height, width])
    if size[0] != size[1] and settings.resize == "crop":
        _wrong(file, f"takes images of {size[0]}x{size[1]} pixels, but crop makes squares: resize is squash")
    return {
        "input": inputs[0].name,
        "dtype": DTYPES[inputs[0].type],
        "layout": layout,
        "channels": channels,
        "size": size,
    }


def _layout(file: Path, shape: Sequence[Any]) -> str:
    first, last = shape[1] in (1, 3), shape[3] in (1, 3)
    if first == last:
        _wrong(file, f'its input has the shape {list(shape)}: layout is needed, "NCHW" or "NHWC"')
    return "NCHW" if first else "NHWC"


def _size(file: Path, settings: GivenSettings, sides: Sequence[Any]) -> tuple[int, int]:
    """(height, width) of the graph where they are fixed, else those that are said."""
    said = (settings.size, settings.size) if isinstance(settings.size, int) else settings.size
    if said is None and not all(isinstance(side, int) for side in sides):
        _wrong(file, "takes images of any size: size is needed, in pixels")
    size = tuple(
        side if isinstance(side, int) else own for side, own in zip(sides, said or sides, strict=True)
    )
    if said is not None and size != tuple(said):
        _wrong(file, f"takes images of {size[0]}x{size[1]} pixels, but size says {said[0]}x{said[1]}")
    return size[0], size[1]


def _normalisation(file: Path, settings: GivenSettings, taken: Mapping[str, Any]) -> dict[str, Any]:
    """mean and std, or scale: never guessed, since a wrong guess costs accuracy and nothing shows it."""
    mean, std, scale = settings.mean, settings.std, settings.scale
    said = [name for name in ("mean", "std", "scale") if getattr(settings, name) is not None]
    if taken["dtype"] == "uint8":
        if said:
            _wrong(file, f"takes uint8 pixels as they are, so {' and '.join(said)} cannot hold: leave it out")
        return {}
    if scale is not None and mean is None and std is None:
        return {"scale": scale}
    if mean is None or std is None or scale is not None:
        found = f"{', '.join(said)} alone" if said else "nothing"
        _wrong(
            file,
            f"takes float pixels, and {found} says how they are made: give mean and std, one value per channel of "
            "pixels from 0 to 1 (of networks trained on ImageNet often mean = [0.485, 0.456, 0.406] and "
            "std = [0.229, 0.224, 0.225]), or only scale = 1 or scale = 255, the value of white, where the network "
            "normalises by itself",
        )
    for name, values in (("mean", mean), ("std", std)):
        if len(values) != taken["channels"] or not np.isfinite(values).all():
            _wrong(file, f"{name} is {list(values)}, expected are {taken['channels']} finite numbers")
    if min(std) <= 0:
        _wrong(file, f"std is {list(std)}, expected are numbers above 0")
    return {"mean": mean, "std": std}


def _columns(
    file: Path, settings: GivenSettings, names: Sequence[str]
) -> tuple[tuple[int, ...] | None, list[str]]:
    """The class number of each output, and a note where the order is not said."""
    if settings.classes is None:
        return None, [f"classes is not said: the outputs are taken for {listed(names)}, the data's order"]
    given = [class_name(name) for name in settings.classes]
    known = {class_name(name): number for number, name in enumerate(names)}
    unknown = [name for name in given if name not in known]
    missing = [name for name in known if name not in given]
    if unknown or missing or len(given) != len(known):
        parts = [f"unknown: {listed(unknown)}"] if unknown else []
        parts += [f"missing: {listed(missing)}"] if missing else []
        parts = parts or ["a class occurs twice"]
        _wrong(file, f"classes are not those of the data ({'; '.join(parts)}): name each class once")
    return tuple(known[name] for name in given), []


def _check_outputs(file: Path, session: Any, names: Sequence[str]) -> None:
    shape = session.get_outputs()[0].shape
    if len(shape) == 2 and isinstance(shape[1], int) and shape[1] != len(names):
        raise ArtifactError(
            f"{file}: gives {shape[1]} scores per image, but the data has {len(names)} classes ({listed(names)}); "
            "give a network of these classes"
        )


def _output_of(file: Path, network: bytes, interface: Interface) -> Literal["probabilities", "logits"]:
    """Whether it gives probabilities: what sums to 1 for images of noise is hardly anything else."""
    noise = np.random.default_rng(0).integers(0, 256, (NOISE_IMAGES, *interface.shape, 3), np.uint8)
    try:
        scores = OnnxPredictor(network, interface, 1, len(network)).scores(noise)
    except ArtifactError as error:
        raise ArtifactError(f"{file}: {error}") from None
    return "probabilities" if are_probabilities(scores, SUM_TOLERANCE) else "logits"
