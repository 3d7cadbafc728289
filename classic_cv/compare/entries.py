"""Names of contestants, and what each of them fits and answers with."""

from __future__ import annotations

import importlib
import importlib.util
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from classic_cv.compare.contestant import FitTask, Fitted, Predictor
from classic_cv.errors import ClassicCVError, MissingExtraError, ParameterError, RecipeError
from classic_cv.neural.settings import HybridSettings
from classic_cv.recipe import AUTO, FLOORS, load_recipe, shelf

if TYPE_CHECKING:
    from classic_cv.deep.settings import DeepSettings

Kind = Literal["floor", "classical", "hybrid", "deep", "given"]
Method = Literal["recipe", "auto", "shuffled", "deep", "deep-auto", "onnx", "oip", "predictions", "python"]

SHUFFLED, DEEP_AUTO = "shuffled", "deep:auto"

WITHOUT_TORCH = ("dummy", "properties", SHUFFLED, "hog-color", AUTO)
WITH_TORCH = (
    "hybrid-100k",
    "mobilenetv3-small:scratch",
    "resnet18:scratch",
    "efficientnet-lite0:frozen",
    DEEP_AUTO,
)
"""Who takes part where nobody is named; the latter only where the packages of the ``deep`` extra are installed."""

DEEP_PACKAGES = ("torch", "torchvision", "timm", "onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class Limits:
    """What the winner has to keep; ``deep:auto`` drops what breaks them."""

    latency_ms: float | None = None
    size_mb: float | None = None


@dataclass(frozen=True)
class Entry:
    """A contestant as it was named.

    Attributes:
        name: as it appears in tables.
        method: how it is fitted.
        source: the recipe, network, file or address behind it.
        mode: of a network: scratch, finetune or frozen.
        int8: the quantised twin of a network.
        kind: what the verdict takes it for; ``auto`` is hybrid where its model holds a network.
        options: of a file that a user brings: size, mean and the like.
    """

    name: str
    method: Method
    source: str
    kind: Kind
    mode: str | None = None
    int8: bool = False
    description: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_fitted(self) -> bool:
        """Whether it learns here, rather than being brought along."""
        return self.method not in ("onnx", "oip", "predictions")

    @property
    def is_epochal(self) -> bool:
        """Whether few passes over the images mean that it had not the time that it needs."""
        return self.method in ("deep", "deep-auto") and self.mode != "frozen"

    @property
    def twin(self) -> Entry | None:
        """The network that this is the quantised one of."""
        if not self.int8:
            return None
        return replace(self, int8=False, name=self.name.removesuffix(":int8"))

    def plain(self) -> dict[str, Any]:
        """As it is handed to another process."""
        return asdict(self)


def default_names() -> list[str]:
    """Who takes part where nobody is named."""
    deep = all(find_spec(package) for package in DEEP_PACKAGES)
    return [*WITHOUT_TORCH, *(WITH_TORCH if deep else ())]


def parse_entries(names: Sequence[str], options: Mapping[str, Any] | None = None) -> list[Entry]:
    """Contestants by their names, each checked before anything runs; ``NAME=CONTESTANT`` gives one another name.

    Raises:
        ParameterError: a name twice, or of no contestant.
        RecipeError: a recipe or file that is not valid.
        MissingExtraError: a network, and packages are missing.
    """
    entries = [parse_entry(name, options or {}) for name in names]
    seen: set[str] = set()
    for entry in entries:
        if entry.name in seen:
            raise ParameterError(
                f"contestant {entry.name!r} is named twice; to enter it twice give it another name, such as "
                f"again={entry.name}"
            )
        seen.add(entry.name)
    return entries


def parse_entry(text: str, options: Mapping[str, Any] | None = None) -> Entry:
    """A contestant by its name, see ``parse_entries``."""
    label, sign, rest = text.partition("=")
    if sign and label and not set(label) & set("/:\\."):
        entry = _parse(rest, options or {})
        return replace(entry, name=label)
    return _parse(text, options or {})


def _parse(text: str, options: Mapping[str, Any]) -> Entry:
    if text == AUTO:
        return Entry(text, "auto", text, "classical", description="the best that the search finds")
    if text == SHUFFLED:
        return Entry(text, "shuffled", text, "floor", description="the best classical one on permuted labels")
    scheme, sign, rest = text.partition(":")
    if sign and scheme in ("onnx", "predictions", "python"):
        return _of_file(text, scheme, rest, options)
    if sign and scheme == "oip":
        from classic_cv.oip.client import address_of

        return Entry(text, "oip", address_of(rest).url, "given", description="answers behind an address")
    if text == DEEP_AUTO:
        _require_deep(text)
        return Entry(text, "deep-auto", "auto", "deep", description="the best network that its search finds")
    if _is_recipe(text):
        return _of_recipe(text)
    return _of_network(text)


def _is_recipe(text: str) -> bool:
    if text in shelf() or text.endswith(".safetensors"):
        return True
    return text.endswith(".toml") and not _is_network_file(Path(text))


def _is_network_file(path: Path) -> bool:
    import tomllib

    try:
        return "architecture" in tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # What is wrong with it is told where it is read as a recipe.
        return False


def _of_recipe(text: str) -> Entry:
    recipe = load_recipe(text)
    kind: Kind = "classical"
    if isinstance(recipe.head, HybridSettings):
        from classic_cv.fitting import require_torch

        require_torch(f"contestant {text}")
        kind = "hybrid"
    elif recipe.name in FLOORS:
        kind = "floor"
    name = text if text in shelf() else Path(text).stem
    return Entry(name, "recipe", text, kind, description=recipe.description)


def _of_network(text: str) -> Entry:
    from classic_cv.deep.settings import deep_shelf, load_deep, parse_name

    try:
        named = parse_name(text)
        settings = load_deep(named.base)
    except ClassicCVError as error:
        if isinstance(error, RecipeError) and (Path(text).suffix == ".toml" or ":" in text):
            raise
        raise ParameterError(
            f"no contestant {text!r}: give auto, shuffled, deep:auto, a recipe ({', '.join(shelf())}), a network "
            f"({', '.join(deep_shelf())}) as NAME[:scratch|finetune|frozen][:int8], timm:NAME, onnx:FILE, oip:URL, "
            "predictions:FILE.csv, python:FILE.py, or a .toml file"
        ) from error
    _require_deep(text)
    mode = named.mode or settings.mode
    return Entry(text, "deep", named.base, "deep", mode, named.int8, settings.description)


def _require_deep(name: str) -> None:
    missing = [package for package in DEEP_PACKAGES if find_spec(package) is None]
    if missing:
        raise MissingExtraError(
            f"contestant {name} is a network, which needs {', '.join(missing)}: pip install 'classic-cv[deep]'"
        )


def _of_file(text: str, scheme: str, rest: str, options: Mapping[str, Any]) -> Entry:
    path = Path(rest)
    if not path.is_file():
        raise ParameterError(f"contestant {text!r}: no such file {rest!r}")
    if scheme == "onnx" and find_spec("onnxruntime") is None:
        raise MissingExtraError(f"contestant {text} needs onnxruntime: pip install 'classic-cv[onnx]'")
    source = str(path.resolve())
    if scheme == "python":
        return Entry(text, "python", source, "given", description="fitted by code of the user")
    method: Method = "onnx" if scheme == "onnx" else "predictions"
    chosen = dict(options) if scheme == "onnx" else {}
    return Entry(text, method, source, "given", description="brought along, not fitted here", options=chosen)


# What happens in a contestant's own process.


def fit_entry(entry: Entry, task: FitTask, limits: Limits, twin: Path | None = None) -> Fitted:
    """Fit a contestant, and store it in the task's folder.

    Args:
        entry: who.
        task: what it learns from.
        limits: that ``deep:auto`` keeps.
        twin: the folder of the network that it is the quantised one of, where that is fitted already.
    """
    if entry.method == "python":
        found: Fitted = _module(entry.source).fit(task)
        return found
    if entry.method in ("recipe", "auto", "shuffled"):
        from classic_cv.compare.classical import fit_recipe_in_budget

        return fit_recipe_in_budget(None if entry.method == "auto" else load_recipe(entry.source), task)
    if not entry.int8:
        return _fit_network(entry, task, limits)
    from classic_cv.deep.quantise import quantise_stored

    if twin is not None:
        return quantise_stored(twin, task)
    with tempfile.TemporaryDirectory(dir=task.folder) as aside:
        fitted = _fit_network(entry, replace(task, folder=Path(aside)), limits)
        return _joined(fitted, quantise_stored(Path(aside), task))


def _joined(fitted: Fitted, quantised: Fitted) -> Fitted:
    """What training and quantising tell together."""
    return replace(fitted, log=fitted.log + quantised.log, details=fitted.details | quantised.details)


def _fit_network(entry: Entry, task: FitTask, limits: Limits) -> Fitted:
    if entry.method == "deep-auto":
        from classic_cv.deep.auto import candidates, fit_auto

        size = None if limits.size_mb is None else int(limits.size_mb * 1e6)
        return fit_auto(candidates(), task, limits.latency_ms, size)
    settings = _settings(entry)
    if settings.mode == "frozen":
        from classic_cv.deep.frozen import fit_frozen

        return fit_frozen(settings, task)
    from classic_cv.deep.fitting import fit_deep

    return fit_deep(settings, task)


def _settings(entry: Entry) -> DeepSettings:
    from classic_cv.deep.settings import load_deep

    settings = load_deep(entry.source)
    return msgspec.structs.replace(settings, mode=entry.mode)


def load_entry(entry: Entry, folder: Path, class_names: Sequence[str], threads: int) -> Predictor:
    """A stored contestant, ready to answer on so many threads."""
    if entry.method == "python":
        found: Predictor = _module(entry.source).load(folder, threads)
        return found
    if entry.method in ("recipe", "auto", "shuffled"):
        from classic_cv.compare.classical import ModelPredictor

        return ModelPredictor(folder, class_names, threads)
    if entry.method == "oip":
        from classic_cv.compare.oip import OipPredictor

        return OipPredictor.load(folder)
    from classic_cv.deep.predictor import OnnxPredictor

    return OnnxPredictor.load(folder, threads)


def store_given(entry: Entry, class_names: Sequence[str], folder: Path) -> list[str]:
    """Store what a user brought, checked, as ``load_entry`` takes it; notes on what was assumed.

    Raises:
        ClassicCVError: it cannot be used.
        TimeoutError: the server behind an address does not answer.
    """
    if entry.method == "oip":
        from classic_cv.compare.oip import store_address

        return store_address(entry.source, tuple(class_names), folder)
    from classic_cv.compare.given import GivenSettings, store_given

    settings = GivenSettings(**dict(entry.options))
    notes: list[str] = store_given(settings, Path(entry.source), tuple(class_names), folder) or []
    return notes


def import_heavy(entry: Entry) -> None:
    """Import what fitting needs: the clock starts after that, at the first image."""
    if entry.method in ("deep", "deep-auto"):
        modules = ["torch", "timm", "onnxruntime"]
    else:
        modules = ["classic_cv.compare.classical"]
    for module in modules:
        importlib.import_module(module)


def _module(path: str) -> ModuleType:
    """A Python file of the user as a module.

    Raises:
        ParameterError: it cannot be imported, or has no ``fit`` and ``load``.
    """
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None:
        raise ParameterError(f"{path}: is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for function in ("fit", "load"):
        if not callable(getattr(module, function, None)):
            raise ParameterError(
                f"{path}: has no function {function}; expected fit(task: FitTask) -> Fitted and "
                "load(folder, threads) -> Predictor, see classic_cv.compare.contestant"
            )
    return module
