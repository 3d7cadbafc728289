"""The course of a training: size, tuning, a teacher, the check on a small batch, the training itself, pruning."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from classic_cv.errors import RecipeError
from classic_cv.extraction import Progress
from classic_cv.neural.architecture import Network, initialise, n_parameters, whiten, within
from classic_cv.neural.augmentation import resolved
from classic_cv.neural.compression import (
    Measured,
    compared,
    compression_entry,
    pruned,
    teacher_scores,
    widened,
)
from classic_cv.neural.export import Deployed, FeatureScaling, to_onnx
from classic_cv.neural.head_start import head_start
from classic_cv.neural.log import JsonLines
from classic_cv.neural.optimizer import learning_rate
from classic_cv.neural.preparation import Prepared, network_inputs
from classic_cv.neural.samples import FeaturesOf, Samples
from classic_cv.neural.settings import HybridSettings, NetworkSettings
from classic_cv.neural.training import (
    Clock,
    Run,
    Trained,
    Trainer,
    batch_size,
    color_scale,
    mean_color,
    score,
)
from classic_cv.neural.trust import as_tensors, can_overfit
from classic_cv.neural.tuning import tune

TEACHER_SHARE = 0.7
"""Of a teacher's scores in the loss."""

FINETUNE_RATE = 0.3
"""Of the learning rate, after pruning."""

OVERFIT_SECONDS, OVERFIT_SHARE = 10.0, 0.03
"""The check on a small batch may take so long, and at most this share of the time limit."""

WHITENED = 2000
"""Images whose patches a whitened first convolution begins with."""


@dataclass
class Surroundings:
    """What a fit knows besides its samples and settings.

    Attributes:
        deadline: ``clock()`` when training has to end.
        n_learned: parameters that the extractors have learned (codebooks), which count.
        features_of: raw features of changed pixels (n, height, width, planes), where that is possible.
        log: JSON lines of the course of training.
        checkpoint: a file for the state of the training, to go on from.
        jobs: threads.
        progress: called with (task, done, total).
    """

    deadline: float = math.inf
    n_learned: int = 0
    features_of: FeaturesOf | None = None
    log: Path | None = None
    checkpoint: Path | None = None
    jobs: int = -1
    progress: Progress | None = None
    clock: Callable[[], float] = time.perf_counter


class Course:
    """The course of a training: tuning, a teacher, the check on a small batch, the training, pruning.

    Args:
        settings: of the head.
        prepared: samples.
        seed: of weights, order and changes.
        around: time, checkpoint, progress.
        log: of everything.

    Attributes:
        settings: with what was decided filled in.
        notes: what was found, as plain data.
        compression: an entry for each way of making the network smaller or better.
    """

    def __init__(
        self, settings: HybridSettings, prepared: Prepared, seed: int, around: Surroundings, log: JsonLines
    ) -> None:
        self.settings, self.prepared, self.seed = settings, prepared, seed
        self.around, self.log = around, log
        self.notes: dict[str, Any] = {}
        self.compression: list[dict[str, Any]] = []

    def run(self) -> Trained:
        """The trained network."""
        self._resize()
        if self.settings.tuning.trials:
            self._tune()
        if self.settings.compression.teacher != "none":
            self._learn_from_teacher()
        if self.settings.compression.prune:
            return self._train_and_prune()
        network = self._new_network(self.settings.network)
        self._check(network)
        trainer = self.trainer(
            network, self.settings, Clock(self.around.deadline, self.around.clock), self._run()
        )
        self.notes["augmentation"] = msgspec.to_builtins(trainer.augmentation)
        return trainer.run()

    def trainer(
        self,
        network: Network,
        settings: HybridSettings,
        clock: Clock,
        run: Run,
        samples: Samples | None = None,
    ) -> Trainer:
        """A trainer of ``network`` with everything of ``settings`` that is about training."""
        prepared, n = self.prepared, self._n_parameters(network)
        objective = replace(prepared.objective, label_smoothing=settings.optimization.label_smoothing)
        return Trainer(
            network,
            prepared.training if samples is None else samples,
            prepared.validation,
            settings.optimization,
            resolved(
                settings.augmentation, n, len(prepared.training), prepared.objective.task == "regression"
            ),
            objective,
            clock,
            self.seed,
            run,
            _scaled_features(self.around.features_of, prepared.scaling),
            (TEACHER_SHARE, settings.compression.temperature),
        )

    def reproducible(self, trained: Trained) -> HybridSettings:
        """The settings with every choice filled in: fitted again, they give the same network."""
        # Those that were planned: the schedule ran towards their end, also where patience ended it before.
        epochs = trained.summary["planned_epochs"]
        optimization = msgspec.structs.replace(self.settings.optimization, epochs=epochs)
        # The width and depth that were found, not the limit that they were found under.
        network = msgspec.structs.replace(self.settings.network, max_parameters="none")
        tuning = msgspec.structs.replace(self.settings.tuning, trials=0)
        return msgspec.structs.replace(
            self.settings, network=network, optimization=optimization, tuning=tuning
        )

    # The steps.

    def _resize(self) -> None:
        network = sized(self.settings.network, self.prepared, self.around.n_learned)
        self.settings = msgspec.structs.replace(self.settings, network=network)

    def _tune(self) -> None:
        # Trials are timed by the clock on the wall, which is never slower.
        left = self.around.deadline - self.around.clock()
        deadline = time.perf_counter() + self.settings.tuning.share * left

        def new_trainer(settings: HybridSettings, samples: Samples, clock: Clock, run: Run) -> Trainer:
            return self.trainer(self._new_network(settings.network), settings, clock, run, samples)

        self.settings, self.notes["tuning"] = tune(
            self.settings,
            self.prepared,
            self.seed,
            deadline,
            new_trainer=new_trainer,
            log=self.log,
            progress=self.around.progress,
            n_learned=self.around.n_learned,
        )

    def _learn_from_teacher(self) -> None:
        """Give the training samples a teacher's scores."""
        compression, prepared = self.settings.compression, self.prepared
        if compression.teacher == "wider":
            scores, entry = self._wider_teacher()
        else:
            scores = teacher_scores(compression.teacher, prepared.training, prepared.n_outputs)
            entry = {"name": f"teacher {Path(compression.teacher).name}"}
        self.notes["teacher"] = entry
        self.prepared = replace(prepared, training=replace(prepared.training, teacher=scores))

    def _wider_teacher(self) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Train a wider network first: its scores of the training images and their mirror images."""
        compression, samples = self.settings.compression, self.prepared.training
        network = self._new_network(widened(self.settings.network, compression.teacher_width))
        left = self.around.deadline - self.around.clock()
        settings = self.settings
        if settings.optimization.epochs != "auto":
            left = math.inf
        clock = Clock(self.around.clock() + compression.teacher_share * left, self.around.clock)
        trained = self.trainer(network, settings, clock, Run(self.log, progress=self.around.progress)).run()
        plain = score(trained.network, samples.pixels, samples.features)
        mirrored = plain
        if samples.mirrored is not None:
            turned = np.ascontiguousarray(samples.pixels[:, :, ::-1])
            mirrored = score(trained.network, turned, samples.mirrored)
        scores = torch.stack([plain, mirrored], dim=1).numpy()
        entry = {
            "name": "wider teacher",
            "channels": list(trained.network.settings.channels),
            **validation_figure(trained.figures.error, self.prepared),
            "seconds": trained.summary["seconds"],
        }
        return scores, entry

    def _train_and_prune(self) -> Trained:
        """Train a wider network, remove its weakest channels, and train on."""
        compression, final = self.settings.compression, self.settings.network
        wide = self._new_network(widened(final, 1 / (1 - compression.prune)))
        self._check(wide)
        optimization = self.settings.optimization
        first, rest = _divided(optimization.epochs, compression.finetune)
        left = self.around.deadline - self.around.clock()
        middle = Clock(self.around.clock() + (1 - compression.finetune) * left, self.around.clock)
        before = self.trainer(
            wide, self._for_epochs(first, 1.0), middle, Run(self.log, progress=self.around.progress)
        ).run()
        small = self._pruned(before.network)
        trainer = self.trainer(
            small,
            self._for_epochs(rest, FINETUNE_RATE),
            Clock(self.around.deadline, self.around.clock),
            self._run(),
        )
        self.notes["augmentation"] = msgspec.to_builtins(trainer.augmentation)
        after = trainer.run()
        self.compression.append(self._pruning_entry(before, after))
        for key in ("epochs", "planned_epochs"):
            after.summary[key] += before.summary[key]
        return after

    def _pruned(self, network: Network) -> Network:
        """With fewer channels, so few that the limit on parameters holds."""
        share, limit = self.settings.compression.prune, self.settings.network.max_parameters
        small = pruned(network, share)
        while limit != "none" and self.around.n_learned + self._n_parameters(small) > limit and share < 0.95:
            share += 0.02
            small = pruned(network, share)
        return small

    def _n_parameters(self, network: Network) -> int:
        """Of the stored network, without what extractors have learned."""
        prepared = self.prepared
        return n_parameters(
            network.settings, prepared.shape[0], len(prepared.scaling.mean), prepared.n_outputs
        )

    def _pruning_entry(self, before: Trained, after: Trained) -> dict[str, Any]:
        n_features = len(self.prepared.scaling.mean)
        networks = [
            to_onnx(Deployed(one.network, self.prepared.scaling), self.prepared.shape, n_features)
            for one in (before, after)
        ]
        times = compared(networks[0], networks[1], network_inputs(self.prepared, np.arange(1)))
        scale = self.prepared.target[1]
        wide, small = (
            Measured(one.figures.error * scale, len(network), ms)
            for one, network, ms in zip((before, after), networks, times, strict=True)
        )
        channels = "-".join(map(str, after.network.settings.channels))
        return compression_entry(f"pruned to channels {channels}", wide, small, kept=True)

    def _for_epochs(self, epochs: Any, rate: float) -> HybridSettings:
        """The settings for a part of the training; where it is not the first, at ``rate`` times the learning rate."""
        optimization = msgspec.structs.replace(self.settings.optimization, epochs=epochs)
        if rate != 1.0:
            size = batch_size(len(self.prepared.training), optimization.batch_size)
            peak = rate * learning_rate(optimization, size)
            optimization = msgspec.structs.replace(optimization, learning_rate=peak, low_resolution=0.0)
        return msgspec.structs.replace(self.settings, optimization=optimization)

    def _check(self, network: Network) -> None:
        left = self.around.deadline - self.around.clock()
        seconds = min(OVERFIT_SECONDS, OVERFIT_SHARE * left)
        check = can_overfit(network, self.prepared.training, self.prepared.objective, seconds, self.seed)
        self.notes["overfit_check"] = check
        self.log.write(event="overfit", **check)

    def _new_network(self, settings: NetworkSettings) -> Network:
        return new_network(settings, self.prepared, self.seed)

    def _run(self) -> Run:
        fingerprint = _fingerprint(self.settings, self.prepared, self.seed)
        return Run(self.log, self.around.checkpoint, fingerprint, self.around.progress)


def _divided(epochs: Any, share: float) -> tuple[Any, Any]:
    """Epochs before and after pruning."""
    if epochs == "auto":
        return "auto", "auto"
    rest = min(max(1, round(share * epochs)), max(1, epochs - 1))
    return max(1, epochs - rest), rest


def sized(settings: NetworkSettings, prepared: Prepared, n_learned: int) -> NetworkSettings:
    """The network under its limit, less what the extractors have learned.

    Raises:
        RecipeError: none fits.
    """
    if settings.max_parameters == "none":
        return settings
    limit = settings.max_parameters - n_learned
    narrowed = msgspec.structs.replace(settings, max_parameters=limit)
    planes = prepared.shape[0]
    try:
        found = within(narrowed, planes, len(prepared.scaling.mean), prepared.n_outputs)
    except ValueError as error:
        raise RecipeError(f"head.network.max_parameters = {settings.max_parameters}: {error}") from None
    return msgspec.structs.replace(found, max_parameters=settings.max_parameters)


def _scaled_features(features_of: FeaturesOf | None, scaling: FeatureScaling) -> FeaturesOf | None:
    if features_of is None:
        return None
    raw = features_of
    return lambda pixels: scaling.apply(raw(pixels))


def new_network(settings: NetworkSettings, prepared: Prepared, seed: int) -> Network:
    """A network with initial weights drawn from ``seed``, made for the training pixels."""
    pixels = prepared.training.pixels
    network = Network(settings, prepared.shape[0], prepared.scaling.n_out, prepared.n_outputs)
    network.mean.copy_(torch.from_numpy(mean_color(pixels)))
    network.scale.copy_(torch.from_numpy(color_scale(pixels)))
    generator = torch.Generator().manual_seed(seed)
    initialise(network, generator)
    if settings.head_start and prepared.scaling.n_out:
        samples = prepared.training
        weight, bias = head_start(samples.features, samples.y, prepared.objective, prepared.n_outputs)
        with torch.no_grad():
            network.linear.weight[:, -prepared.scaling.n_out :] = torch.from_numpy(weight)
            network.linear.bias.copy_(torch.from_numpy(bias))
    if settings.first == "whitened":
        rows = np.linspace(0, len(pixels) - 1, min(WHITENED, len(pixels))).astype(np.intp)
        sample, _ = as_tensors(pixels[rows], np.zeros((len(rows), 0), np.float32))
        whiten(network, sample, generator)
    return network


def validation_figure(error: float, prepared: Prepared) -> dict[str, Any]:
    """An error on the validation images as a report tells it."""
    if prepared.objective.task == "regression":
        return {"validation_mae": error * prepared.target[1]}
    balanced = prepared.objective.class_weights is not None
    return {"validation_score": 1 - error, "scoring": "balanced accuracy" if balanced else "accuracy"}


def _fingerprint(settings: HybridSettings, prepared: Prepared, seed: int) -> str:
    """Of what a checkpoint belongs to."""
    digest = hashlib.sha256(msgspec.json.encode([settings, seed, len(prepared.training)]))
    digest.update(np.ascontiguousarray(prepared.training.y).tobytes())
    few = slice(None, None, max(1, len(prepared.training) // 100))
    digest.update(prepared.training.pixels[few].tobytes())
    digest.update(prepared.training.features[few].tobytes())
    digest.update(bytes([prepared.training.mirrors]))
    return digest.hexdigest()
