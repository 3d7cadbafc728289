"""What somebody else has trained: an ONNX classifier, or its predictions for the test images in a CSV file."""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from classic_cv.dataset._dataset import class_name
from classic_cv.dataset._manifest import PATH_COLUMNS, read_table
from classic_cv.deep.predictor import Interface, OnnxPredictor, are_probabilities, read_network, write_network
from classic_cv.errors import ArtifactError, DatasetError, RecipeError
from classic_cv.heads.hybrid import make_session
from classic_cv.task import listed

# An ONNX classifier.

Channels = Annotated[tuple[float, ...], Meta(min_length=1, max_length=3)]
Side = Annotated[int, Meta(ge=1, le=4096)]

DTYPES: Mapping[str, Literal["uint8", "float32"]] = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}
"""Element types that a network may take, as ONNX Runtime calls them."""

NOISE_IMAGES = 2
"""Images of noise that a network is tried on before it is stored."""

SUM_TOLERANCE = 1e-3
"""How far from 1 the sum of probabilities may be."""


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


# Predictions.


@dataclass(frozen=True, eq=False)
class GivenPredictions:
    """What a file predicts for the test images, in their order.

    Attributes:
        labels: int64 (n,), class numbers.
        probabilities: float32 (n, n_classes), rows sum to 1; None where the file has labels only.
        ms: float64 (n,), as the file says; None where it does not. Nobody else has measured them.
        notes: sentences on rows that are not used.
    """

    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32] | None
    ms: NDArray[np.float64] | None
    notes: tuple[str, ...] = ()


def read_predictions(file: Path, names: Sequence[str], class_names: Sequence[str]) -> GivenPredictions:
    """Predictions for the test images ``names`` from a CSV file in UTF-8.

    Its columns are ``path`` (or ``file``: an image as the data set names it, with any folders before that; or the
    file's base name where only one test image has it), ``label`` or a column per class with its probability, and
    perhaps ``ms``, milliseconds per image. With both, ``label`` is what counts. Backslashes separate folders as
    slashes do. Rows of other images are left out.

    Args:
        file: the CSV.
        names: of the test images, as ``Dataset.names``.
        class_names: by class number.

    Raises:
        DatasetError: it cannot be read or is empty, columns are missing, a test image is missing or occurs twice, a
            label is no class, or a value is no number or no probability.
    """
    rows = read_table(file)
    if len(rows) < 2:
        raise DatasetError(
            f"{file}: has no predictions; expected are a header and a row for each of {len(names):,} images"
        )
    header = [class_name(name) for name in rows[0][1]]
    columns = _find_columns(file, header, class_names)
    found = _rows_of_images(file, rows[1:], len(header), columns.path, names)
    table = [(line, fields) for line, fields in (rows[1:][row] for row in found)]
    probabilities = ms = None
    if columns.classes is not None:
        values = _numbers(file, table, header, columns.classes)
        probabilities = _checked_probabilities(file, table, values)
    if columns.ms is not None:
        ms = _numbers(file, table, header, [columns.ms])[:, 0]
        if ms.min() < 0:
            raise DatasetError(f"{file}: line {table[int(ms.argmin())][0]}: ms is below 0")
    if columns.label is not None:
        labels = _labels(file, table, columns.label, class_names)
    else:
        assert probabilities is not None
        labels = probabilities.argmax(axis=1).astype(np.int64)
    unused = len(rows) - 1 - len(found)
    notes = (f"{unused:,} rows of other images than the test images are not used",) if unused else ()
    return GivenPredictions(labels, probabilities, ms, notes)


@dataclass(frozen=True)
class _Columns:
    """Positions of the columns."""

    path: int
    label: int | None
    classes: list[int] | None
    ms: int | None


def _find_columns(file: Path, header: Sequence[str], class_names: Sequence[str]) -> _Columns:
    found = f"its columns are: {', '.join(header)}"
    allowed = "expected are path, label or a column per class, and perhaps ms"
    known = [class_name(name) for name in class_names]
    twice = [name for name in dict.fromkeys(header) if name and header.count(name) > 1]
    if twice:
        raise DatasetError(f"{file}: column {twice[0]!r} occurs more than once; {found}")
    paths = [header.index(name) for name in PATH_COLUMNS if name in header and name not in known]
    if len(paths) != 1:
        what = "both a path and a file column" if paths else "no path column"
        raise DatasetError(f"{file}: {what}; {found}; {allowed}")
    missing = [name for name in known if name not in header]
    label = header.index("label") if "label" in header and "label" not in known else None
    if missing and (label is None or len(missing) < len(known)):
        what = (
            f"no label column, and none for the classes {listed(missing)}"
            if len(missing) == len(known)
            else f"no column for the classes {listed(missing)}"
        )
        raise DatasetError(f"{file}: {what}; {found}; {allowed}")
    ms = header.index("ms") if "ms" in header and "ms" not in known else None
    return _Columns(paths[0], label, None if missing else [header.index(name) for name in known], ms)


def _parts(name: str) -> tuple[str, ...]:
    """A path's folders and file, whatever separates them, in Unicode's composed form."""
    return tuple(part for part in class_name(name).replace("\\", "/").split("/") if part not in ("", "."))


class _Names:
    """Finds the test image that a path is meant for."""

    def __init__(self, file: Path, names: Sequence[str]) -> None:
        self.file, self.names = file, names
        self.full = {_parts(name): position for position, name in enumerate(names)}
        self.bases: dict[str, list[int]] = {}
        for position, name in enumerate(names):
            self.bases.setdefault(_parts(name)[-1], []).append(position)

    def position(self, text: str, line: int) -> int | None:
        """The image whose name ``text`` is or ends with, or whose base name it is; None for no test image."""
        parts = _parts(text)
        for start in range(len(parts)):
            if parts[start:] in self.full:
                return self.full[parts[start:]]
        same = self.bases.get(parts[0], []) if len(parts) == 1 else []
        if len(same) > 1:
            raise DatasetError(
                f"{self.file}: line {line}: {len(same)} test images are called {parts[0]!r}, such as "
                f"{listed([self.names[k] for k in same], 2)}; give the path as the data set names it"
            )
        return same[0] if same else None


def _rows_of_images(
    file: Path, rows: Sequence[tuple[int, list[str]]], width: int, path: int, names: Sequence[str]
) -> list[int]:
    """The position in ``rows`` of each image's row."""
    known = _Names(file, names)
    found: dict[int, int] = {}
    for row, (line, fields) in enumerate(rows):
        if len(fields) != width:
            raise DatasetError(f"{file}: line {line}: {len(fields)} fields where the header has {width}")
        position = known.position(fields[path], line)
        if position is None:
            continue
        if position in found:
            first = rows[found[position]][0]
            raise DatasetError(f"{file}: lines {first} and {line} are both for {names[position]!r}; keep one")
        found[position] = row
    missing = [name for position, name in enumerate(names) if position not in found]
    if missing:
        raise DatasetError(
            f"{file}: {len(missing):,} of {len(names):,} test images have no prediction: {listed(missing, 5)}; add "
            "a row for each, with the path as the data set names it"
        )
    return [found[position] for position in range(len(names))]


def _numbers(
    file: Path, table: Sequence[tuple[int, list[str]]], header: Sequence[str], columns: Sequence[int]
) -> NDArray[np.float64]:
    """float64 (n, len(columns)), finite."""
    values = np.full((len(table), len(columns)), np.nan)
    for row, (line, fields) in enumerate(table):
        for k, column in enumerate(columns):
            with contextlib.suppress(ValueError):
                values[row, k] = float(fields[column])
            if not np.isfinite(values[row, k]):
                raise DatasetError(
                    f"{file}: line {line}: {header[column]} is {fields[column]!r}, expected is a number such as 0.25"
                )
    return values


def _checked_probabilities(
    file: Path, table: Sequence[tuple[int, list[str]]], values: NDArray[np.float64]
) -> NDArray[np.float32]:
    wrong = [row for row in range(len(values)) if not are_probabilities(values[row : row + 1], SUM_TOLERANCE)]
    if wrong:
        row = values[wrong[0]]
        raise DatasetError(
            f"{file}: line {table[wrong[0]][0]}: the values of the classes are from {row.min():g} to {row.max():g} "
            f"and sum to {row.sum():g}, expected are probabilities from 0 to 1 that sum to 1; write the softmax of "
            "logits"
        )
    values = np.clip(values, 0, 1)
    found: NDArray[np.float32] = (values / values.sum(axis=1, keepdims=True)).astype(np.float32)
    return found


def _labels(
    file: Path, table: Sequence[tuple[int, list[str]]], column: int, class_names: Sequence[str]
) -> NDArray[np.int64]:
    known = {class_name(name): number for number, name in enumerate(class_names)}
    labels = np.empty(len(table), np.int64)
    for row, (line, fields) in enumerate(table):
        number = known.get(class_name(fields[column]))
        if number is None:
            raise DatasetError(
                f"{file}: line {line}: label {fields[column]!r} is no class; the classes are {listed(class_names)}"
            )
        labels[row] = number
    return labels
