"""A search for the values of a hybrid head that it was not given, inside a part of the time limit.

Optuna (Akiba et al., Optuna: a next-generation hyperparameter optimization framework, KDD 2019, arXiv:1907.10902)
suggests values, a short training with a schedule of its own tells how good they are on the validation part. The first
trial is the settings as they are, so that the result is never worse than them on what it is judged by.

Suggestions come from tree-structured Parzen estimators (Bergstra et al., Algorithms for hyper-parameter optimization,
NIPS 2011; here of all values together, Falkner et al., BOHB, ICML 2018, arXiv:1807.01774) or from Gaussian processes
(Snoek et al., Practical Bayesian optimization of machine learning algorithms, NIPS 2012, arXiv:1206.2944).

A trial that is poor halfway is given up: once its best error so far is above the median of the others at that epoch
(Golovin et al., Google Vizier, KDD 2017). Successive halving (Jamieson and Talwalkar, AISTATS 2016, arXiv:1502.07943)
would give up two thirds of the trials at their first comparison, where a high learning rate, which a one-cycle schedule
makes good for at its end only, looks worse than it is.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import TrialState

from classic_cv.errors import TrainingError
from classic_cv.extraction import Progress
from classic_cv.neural.architecture import STEP, n_parameters, within
from classic_cv.neural.augmentation import resolved
from classic_cv.neural.log import JsonLines
from classic_cv.neural.objective import Figures
from classic_cv.neural.optimizer import WEIGHT_DECAYS, learning_rate
from classic_cv.neural.preparation import Prepared
from classic_cv.neural.samples import Samples
from classic_cv.neural.settings import (
    HybridSettings,
    NetworkSettings,
    OptimizationSettings,
    TuningSettings,
)
from classic_cv.neural.training import MOST_EPOCHS, VALIDATION_SHARE, Clock, Run, Trainer, batch_size
from classic_cv.subset import nested_order

NewTrainer = Callable[[HybridSettings, Samples, Clock, Run], Trainer]
"""Makes a trainer, with initial weights from the same seed each time, of settings without ``auto`` in the augmentation,
samples to train on, and the clock and hooks of a trial."""

FEW_TRIALS = 8
"""So many are to fit at least: trials become shorter for it."""

LEAST_EPOCHS = 6
"""Of a trial: with fewer, a schedule hardly has a course, and there is nothing to give it up by. Where they take too
long with all training images, trials have fewer images."""

LEAST_IMAGES = 2000
"""Of a trial; where not even these fit ``FEW_TRIALS`` times, there are fewer trials."""

PILOT_STEPS = 10
"""Steps that the length of a trial is planned from; the first two are not counted."""

SAFETY = 0.9
"""Share of the time that is planned for."""

SLOWER = 1.1
"""A trial is begun where so many times the longest one so far still fits."""

UNPRUNED = 3
"""Trials have to be complete before another is given up."""

WARM_UP = 1 / 3
"""Share of a trial before which it is not given up: the learning rate rises in the first quarter."""

STARTUP = 5
"""Trials before the sampler's model is used, the given ones included; Optuna's 10 would often be all there are."""

RATE_FACTORS = 0.25, 4.0
DECAY_FACTORS = 0.1, 10.0
MOST_SMOOTHING = 0.2
MOST_CHANGE = {"shift": 0.2, "cutout": 0.5, "color": 0.4, "mixup": 0.4}

EMA_RANGE = -2.7, -1.0
"""Of log10(1 - ema): up to a decay of 0.998."""

EMA_OFF = -1.3
"""Above it, where an average would be of less than 20 steps, there is none."""

PROBES = 2.0, 0.5
"""Factors of the learning rate that are tried next to the settings as they are: of all values it matters most
(Bengio, Practical recommendations for gradient-based training of deep architectures, 2012, arXiv:1206.5533)."""

DIGITS = 4
"""Significant ones of the values: what is written down is exactly what was tried."""


@dataclass(frozen=True)
class Knob:
    """One value that is searched for, as the sampler sees it.

    Attributes:
        name: of the value in the settings, or of what stands for several.
        low, high: its range; whole numbers where ``whole``.
        default: what stands for the settings as they are.
        log: whether its logarithm is uniform.
        whole: whether it is a whole number.
    """

    name: str
    low: float
    high: float
    default: float
    log: bool = False
    whole: bool = False

    def suggested(self, trial: optuna.trial.Trial) -> float:
        """The sampler's value."""
        if self.whole:
            return trial.suggest_int(self.name, round(self.low), round(self.high))
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Plan:
    """How long a trial is: epochs of so many training images, so that so many trials fit unless they are pruned."""

    images: int
    epochs: int
    trials: int


@dataclass(frozen=True)
class Speed:
    """What a training costs, in seconds: each image of each epoch, and every training besides."""

    image: float
    training: float

    def seconds(self, images: int, epochs: int) -> float:
        """Of a training."""
        return images * epochs * self.image + self.training


@dataclass(frozen=True)
class Tried:
    """What came of one trial.

    Attributes:
        settings: with its values, for all training images.
        params: these values, as in the settings.
        state: ``pruned`` was given up, ``failed`` broke.
        figures: of a complete one.
        seconds: that it took, the suggestion included.
        note: why it failed.
    """

    settings: HybridSettings
    params: dict[str, Any]
    state: Literal["complete", "pruned", "failed"]
    figures: Figures | None
    seconds: float
    note: str = ""

    def plain(self, number: int) -> dict[str, Any]:
        """As plain data."""
        value = None if self.figures is None else self.figures.error
        told = {"number": number, "params": self.params, "value": value, "state": self.state}
        return {**told, "seconds": self.seconds, **({"note": self.note} if self.note else {})}


def tune(
    settings: HybridSettings,
    prepared: Prepared,
    seed: int,
    deadline: float,
    *,
    new_trainer: NewTrainer,
    log: JsonLines,
    progress: Progress | None = None,
    n_learned: int = 0,
) -> tuple[HybridSettings, dict[str, Any]]:
    """The settings with the best values that were found for what they leave open.

    Only that is searched for which is ``auto`` or has its default: what was given otherwise stays. ``max_parameters``
    leaves ``channels`` and ``blocks`` open, whatever they are.

    All trials train for the same epochs on the same images; how long, is planned from the speed of a few steps before
    the first trial. The same seed, plan and threads give the same trials one after the other; a time limit decides
    the plan (``images`` and ``epochs`` of the summary) and how many there are, and so may differ from run to run.
    That one network or batch size is slower than another is not counted: a measured time would make the choice hang
    on what else the machine does. Nothing but ``prepared.training`` and ``prepared.validation`` is looked at.

    Args:
        settings: of the head; its network is already one under ``max_parameters``. Of ``tuning``, ``trials`` and
            ``sampler`` count here, ``share`` is already in ``deadline``.
        prepared: samples to train on and to judge by.
        seed: of the sampler and of the choice of images.
        deadline: ``time.perf_counter()`` when it has to end; infinity for all trials.
        new_trainer: makes the trainer of a trial; the settings' ``label_smoothing`` has to get into its objective.
        log: a line per trial.
        progress: called with ("tuning", trials done, trials expected).
        n_learned: parameters that count towards ``max_parameters`` besides the network's.

    Returns:
        The settings, with numbers of ``DIGITS`` significant digits where the best trial has other values than
        the first, otherwise unchanged. And plain data: ``sampler``; ``done``, ``pruned`` and ``failed``, how many
        trials; ``best_value`` and ``default_value``, errors on the validation part, None where there is none;
        ``images`` and ``epochs`` of each trial; ``seconds``; ``cpu_seconds`` of this process; ``ended`` by
        ``trials``, ``time``, ``interrupted``, or ``nothing`` to be tuned; ``note``, why the settings are unchanged,
        or empty; ``trials``, each with ``number``, ``params``, ``value``, ``state``, ``seconds``.
    """
    search = Search(settings, prepared, seed, deadline, new_trainer, log, progress, n_learned)
    return search.run()


@dataclass
class Search:
    """What ``tune`` does, and where it is; arguments as there."""

    settings: HybridSettings
    prepared: Prepared
    seed: int
    deadline: float
    new_trainer: NewTrainer
    log: JsonLines
    progress: Progress | None = None
    n_learned: int = 0

    plan: Plan | None = None
    tried: list[Tried] = field(default_factory=list)
    ended: Literal["trials", "time", "interrupted", "nothing"] = "trials"

    def run(self) -> tuple[HybridSettings, dict[str, Any]]:
        """Plan, try, and choose."""
        started, cpu_started = time.perf_counter(), time.process_time()
        note = self._impossible()
        if note:
            self.ended = "nothing"
        else:
            note = self._tried_out()
        best = self._best()
        chosen = self.settings if best in (None, 0) else self.tried[best or 0].settings
        summary = self._summary(best, note)
        seconds = time.perf_counter() - started
        summary |= {"seconds": seconds, "cpu_seconds": time.process_time() - cpu_started}
        self.log.write(event="tuning", **{k: v for k, v in summary.items() if k != "trials"})
        return chosen, summary

    def _impossible(self) -> str:
        """Why there is nothing to search; empty where there is."""
        if self.settings.tuning.trials < 2:
            return "fewer than two trials are asked for, and the first is the settings as they are"
        if not len(self.prepared.validation):
            return "there are too few images for a validation part to judge trials by"
        if not search_space(self.settings, self.prepared, self._networks(), len(self.prepared.training)):
            return "every value that could be tuned was given"
        return ""

    def _tried_out(self) -> str:
        """Run the trials; returns why that leaves the settings unchanged, or an empty text."""
        short = "the time was not enough for two trials"
        if self._left() > 0:
            self.plan = self._planned()
        if self.plan is None:
            self.ended = "time" if self.ended == "trials" else self.ended
            return short if self.ended == "time" else "interrupted before the first trial"
        self._all_trials(self.plan)
        if len(self.tried) < 2:
            return short if self.ended == "time" else "interrupted before the second trial"
        if self._best() is None:
            return "no trial came to its end"
        return "no trial was better than the settings as they are" if self._best() == 0 else ""

    # The plan.

    def _planned(self) -> Plan | None:
        speed = self._speed()
        if speed is None:
            return None
        epochs = self.settings.optimization.epochs
        most = MOST_EPOCHS if epochs == "auto" else epochs
        n, trials = len(self.prepared.training), self.settings.tuning.trials
        return planned(self._left(), trials, n, most, speed)

    def _speed(self) -> Speed | None:
        """Measured in a few steps of a training that is thrown away; None where that was interrupted."""
        wanted = self.settings.optimization.batch_size
        samples = self._samples(PILOT_STEPS * wanted)
        pilot = self._for_trial(self.settings, epochs=1)
        times: list[float] = []

        def note(task: str, done: int, total: int) -> None:
            times.append(time.perf_counter())

        started = time.perf_counter()
        trainer = self.new_trainer(pilot, samples, Clock(self.deadline), Run(progress=note))
        times.append(time.perf_counter())
        making = times[0] - started
        try:
            interrupted = bool(trainer.run().summary["interrupted"])
        except TrainingError:
            # The first trial will say so as well; the steps before tell how fast it is.
            interrupted = False
        if interrupted:
            self.ended = "interrupted"
            return None
        # The first steps make buffers and choose kernels.
        steps = np.diff(times)
        step = float(np.median(steps[2:] if len(steps) > 2 else steps)) if len(steps) else making
        validation = time.perf_counter() - times[-1]
        image = step / batch_size(len(samples), wanted) * (1 + VALIDATION_SHARE)
        return Speed(max(image, 1e-9), making + 2 * validation)

    def _samples(self, n: int) -> Samples:
        """Training images of a trial: a stratified choice that any smaller one is part of."""
        y = self.prepared.training.y
        if n >= len(y):
            return self.prepared.training
        strata = y if self.prepared.objective.task == "classification" else _quantile_bins(y)
        rows = nested_order(strata, np.arange(len(y), dtype=np.int64), self.seed)[:n]
        return self.prepared.training.part(np.sort(rows))

    def _left(self) -> float:
        return self.deadline - time.perf_counter()

    # The trials.

    def _all_trials(self, plan: Plan) -> None:
        networks = self._networks()
        knobs = search_space(self.settings, self.prepared, networks, plan.images)
        samples = self._samples(plan.images)
        with _quiet():
            study = new_study(self.settings.tuning, self.seed, plan.epochs, knobs)
            while len(self.tried) < self.settings.tuning.trials and self.ended == "trials":
                if not self._fits():
                    self.ended = "time"
                    break
                self._trial(study, knobs, networks, samples, plan.epochs)
                self._tell_progress()

    def _fits(self) -> bool:
        """Whether a trial as long as the longest so far would end in time; the plan is trusted for the first."""
        return SLOWER * max((tried.seconds for tried in self.tried), default=0.0) <= self._left()

    def _trial(
        self,
        study: optuna.Study,
        knobs: list[Knob],
        networks: Mapping[int, NetworkSettings],
        samples: Samples,
        epochs: int,
    ) -> None:
        started = time.perf_counter()
        trial = study.ask()
        values = {knob.name: knob.suggested(trial) for knob in knobs}

        def changed(n: int) -> HybridSettings:
            return with_values(self.settings, values, networks, n)

        first = not self.tried
        errors = Errors(trial, epochs)
        to_train = self._for_trial(self.settings if first else changed(len(samples)), epochs)
        run = Run(should_stop=errors.should_stop)
        figures, note = None, ""
        try:
            trained = self.new_trainer(to_train, samples, Clock(self.deadline), run).run()
            if trained.summary["interrupted"]:
                self.ended = "interrupted"
            elif not errors.too_poor:
                figures = trained.figures
        except TrainingError as error:
            note = str(error)
        if figures is not None and not math.isfinite(figures.error):
            figures, note = None, "its error is not a number"
        state: Literal["complete", "pruned", "failed"] = "complete" if figures is not None else "pruned"
        state = "failed" if note else state
        self._tell(study, trial, figures)
        final = changed(len(self.prepared.training))
        params = told(final, knobs)
        self.tried.append(Tried(final, params, state, figures, time.perf_counter() - started, note))
        self.log.write(event="trial", **self.tried[-1].plain(len(self.tried) - 1))

    def _tell(self, study: optuna.Study, trial: optuna.trial.Trial, figures: Figures | None) -> None:
        """Tell the sampler what came of a trial."""
        if figures is not None:
            study.tell(trial, figures.error)
            return
        complete = [tried.figures.error for tried in self.tried if tried.figures is not None]
        if self.settings.tuning.sampler == "gp" and complete:
            # Optuna's Gaussian processes do not see pruned trials, and would come back to the same place.
            study.tell(trial, max(complete))
        else:
            # Failed ones too: the Parzen estimators count those without a figure as the worst, but skip failed ones.
            study.tell(trial, state=TrialState.PRUNED)

    def _for_trial(self, settings: HybridSettings, epochs: int) -> HybridSettings:
        """With the length of a trial, and the augmentation that all the training images would get."""
        # A short schedule is gone through to its end, where the learning rate falls.
        optimization = msgspec.structs.replace(settings.optimization, epochs=epochs, patience=0)
        network, prepared = settings.network, self.prepared
        size = n_parameters(network, prepared.shape[0], len(prepared.scaling.mean), prepared.n_outputs)
        augmentation = resolved(settings.augmentation, size, len(prepared.training))
        return msgspec.structs.replace(settings, optimization=optimization, augmentation=augmentation)

    def _networks(self) -> dict[int, NetworkSettings]:
        planes, n_features = self.prepared.shape[0], len(self.prepared.scaling.mean)
        return proportions(self.settings.network, planes, n_features, self.prepared.n_outputs, self.n_learned)

    def _tell_progress(self) -> None:
        if self.progress is None:
            return
        done = len(self.tried)
        more = self.settings.tuning.trials - done if self.ended == "trials" else 0
        slowest = SLOWER * max(tried.seconds for tried in self.tried)
        if slowest > 0 and not math.isinf(self._left()):
            more = min(more, max(0, int(self._left() / slowest)))
        self.progress("tuning", done, done + more)

    # The choice.

    def _best(self) -> int | None:
        """Number of the best trial; of equal ones the first, so that nothing changes without a reason."""
        complete = [(tried.figures, k) for k, tried in enumerate(self.tried) if tried.figures is not None]
        return min(complete)[1] if complete else None

    def _summary(self, best: int | None, note: str) -> dict[str, Any]:
        states = [tried.state for tried in self.tried]
        trials = [tried.plain(k) for k, tried in enumerate(self.tried)]
        return {
            "sampler": self.settings.tuning.sampler,
            "done": states.count("complete"),
            "pruned": states.count("pruned"),
            "failed": states.count("failed"),
            "best_value": None if best is None else trials[best]["value"],
            "default_value": trials[0]["value"] if trials else None,
            "images": self.plan.images if self.plan else 0,
            "epochs": self.plan.epochs if self.plan else 0,
            "ended": self.ended,
            "note": note,
            "trials": trials,
        }


@dataclass
class Errors:
    """The validation errors of a trial so far, and whether it is given up for them.

    Attributes:
        trial: gets them.
        epochs: of the whole trial.
        too_poor: whether it was given up.
    """

    trial: optuna.trial.Trial
    epochs: int
    too_poor: bool = False

    def should_stop(self, epoch: int, error: float) -> bool:
        """Take the error after an epoch; True ends the trial."""
        if math.isfinite(error):
            self.trial.report(error, epoch)
            # After the last epoch there is nothing left to save.
            self.too_poor = epoch < self.epochs and self.trial.should_prune()
        return self.too_poor


def planned(left: float, trials: int, n: int, most_epochs: int, speed: Speed) -> Plan | None:
    """The length of a trial.

    All ``trials`` are to fit, with all images and as many epochs as there is time for; where that is not enough for
    ``LEAST_EPOCHS``, fewer trials, but not fewer than ``FEW_TRIALS``; then fewer images, but not fewer than
    ``LEAST_IMAGES``.

    Args:
        left: seconds for all of them.
        trials: wanted.
        n: training images.
        most_epochs: of a training.
        speed: of the training.

    Returns:
        The plan; None where not even two trials fit.
    """
    if math.isinf(left):
        return Plan(n, most_epochs, trials)
    left *= SAFETY
    least = min(LEAST_EPOCHS, most_epochs)
    trials = min(trials, max(FEW_TRIALS, int(left / speed.seconds(n, least))))
    # Of a trial, counting an image once per epoch.
    seen = int((left / trials - speed.training) / speed.image)
    if seen >= least * n:
        return Plan(n, min(most_epochs, seen // n), trials)
    images = min(n, max(LEAST_IMAGES, seen // least))
    trials = min(trials, int(left / speed.seconds(images, least)))
    return Plan(images, least, trials) if trials >= 2 else None


def search_space(
    settings: HybridSettings, prepared: Prepared, networks: Mapping[int, NetworkSettings], n: int
) -> list[Knob]:
    """What is searched for: the values that are ``auto`` or have their default.

    Args:
        settings: as they are.
        prepared: tells the task and what ``auto`` means.
        networks: of ``proportions``.
        n: images that a trial is trained on.
    """
    given = settings.optimization
    default = OptimizationSettings()
    knobs = []
    if given.learning_rate == "auto":
        knobs.append(Knob("learning_rate", *RATE_FACTORS, 1.0, log=True))
    if given.weight_decay == "auto":
        knobs.append(Knob("weight_decay", *DECAY_FACTORS, 1.0, log=True))
    if given.label_smoothing == default.label_smoothing and prepared.objective.task == "classification":
        knobs.append(Knob("label_smoothing", 0.0, MOST_SMOOTHING, given.label_smoothing))
    if given.ema == default.ema:
        knobs.append(Knob("ema", *EMA_RANGE, EMA_RANGE[1]))
    if given.batch_size == default.batch_size:
        knobs += _batch_knob(n, given.batch_size)
    if len(networks) > 1:
        knobs.append(Knob("blocks", min(networks), max(networks), 0, whole=True))
    return knobs + _augmentation_knobs(settings, prepared)


def _batch_knob(n: int, default: int) -> list[Knob]:
    """Doublings of the batch size, where the number of images does not bring all to the same."""
    sizes = {k: batch_size(n, round(default * 2.0**k)) for k in (-1, 0, 1)}
    low, high = (0 if sizes[-1] == sizes[0] else -1), (0 if sizes[1] == sizes[0] else 1)
    return [Knob("batch_size", low, high, 0, whole=True)] if low < high else []


def _augmentation_knobs(settings: HybridSettings, prepared: Prepared) -> list[Knob]:
    size = n_parameters(settings.network, prepared.shape[0], len(prepared.scaling.mean), prepared.n_outputs)
    automatic = resolved(settings.augmentation, size, len(prepared.training))
    knobs = []
    for name, most in MOST_CHANGE.items():
        if getattr(settings.augmentation, name) == "auto":
            default = float(getattr(automatic, name))
            knobs.append(Knob(name, 0.0, max(most, default), default))
    return knobs


def proportions(
    settings: NetworkSettings, n_planes: int, n_features: int, n_outputs: int, n_learned: int
) -> dict[int, NetworkSettings]:
    """Networks under ``max_parameters`` by how many blocks each stage has more: 0 as they are, and others if any.

    Args:
        settings: a network under its limit.
        n_planes, n_features, n_outputs: as of ``n_parameters``.
        n_learned: parameters of the limit that are not the network's.
    """
    found = {0: settings}
    if settings.max_parameters == "none":
        return found
    limit = settings.max_parameters - n_learned
    for more in (-1, 1):
        blocks = tuple(min(64, max(1, depth + more)) if depth else 0 for depth in settings.blocks)
        if blocks == settings.blocks:
            continue
        # Parameters grow with the square of the width: from a shape of about the size ``within`` keeps the depth.
        factor = math.sqrt(sum(settings.blocks) / sum(blocks))
        channels = tuple(max(STEP, STEP * round(factor * width / STEP)) for width in settings.channels)
        changed = msgspec.structs.replace(settings, blocks=blocks, channels=channels, max_parameters=limit)
        try:
            changed = within(changed, n_planes, n_features, n_outputs)
        except ValueError:
            # Even the narrowest network of so many blocks is too large.
            continue
        if changed.blocks == blocks:
            found[more] = msgspec.structs.replace(changed, max_parameters=settings.max_parameters)
    return found


def with_values(
    settings: HybridSettings, values: Mapping[str, float], networks: Mapping[int, NetworkSettings], n: int
) -> HybridSettings:
    """The settings with the values of a trial.

    Args:
        settings: as they are.
        values: of the knobs, by name.
        networks: of ``proportions``.
        n: images to be trained on: few of them come in smaller batches, and these at a lower rate.
    """
    given = settings.optimization
    changes: dict[str, Any] = {}
    if "batch_size" in values:
        changes["batch_size"] = round(given.batch_size * 2.0 ** values["batch_size"])
    if "learning_rate" in values:
        usual = learning_rate(given, batch_size(n, changes.get("batch_size", given.batch_size)))
        changes["learning_rate"] = rounded(values["learning_rate"] * usual)
    if "weight_decay" in values:
        changes["weight_decay"] = rounded(values["weight_decay"] * WEIGHT_DECAYS[given.optimizer])
    if "label_smoothing" in values:
        changes["label_smoothing"] = rounded(values["label_smoothing"])
    if "ema" in values:
        changes["ema"] = rounded(1 - 10 ** values["ema"]) if values["ema"] < EMA_OFF else 0.0
    strengths = {name: rounded(values[name]) for name in MOST_CHANGE if name in values}
    return msgspec.structs.replace(
        settings,
        network=networks[round(values.get("blocks", 0))],
        optimization=msgspec.structs.replace(given, **changes),
        augmentation=msgspec.structs.replace(settings.augmentation, **strengths),
    )


def told(settings: HybridSettings, knobs: list[Knob]) -> dict[str, Any]:
    """The values of the knobs as the settings have them, with ``channels`` beside ``blocks``."""
    network = settings.network
    found: dict[str, Any] = {}
    for name in (knob.name for knob in knobs):
        if name == "blocks":
            found |= {"channels": list(network.channels), "blocks": list(network.blocks)}
        else:
            of = settings.augmentation if name in MOST_CHANGE else settings.optimization
            found[name] = getattr(of, name)
    return found


def rounded(value: float) -> float:
    """With ``DIGITS`` significant digits."""
    return float(f"{value:.{DIGITS}g}")


def new_study(settings: TuningSettings, seed: int, epochs: int, knobs: list[Knob]) -> optuna.Study:
    """A study in memory that begins with the settings as they are, then other learning rates."""
    # A higher first step than the trial has is never reached: very short trials are not given up.
    pruner = optuna.pruners.MedianPruner(
        n_startup_trials=UNPRUNED, n_warmup_steps=math.ceil(WARM_UP * epochs), n_min_trials=UNPRUNED
    )
    study = optuna.create_study(direction="minimize", sampler=new_sampler(settings, seed), pruner=pruner)
    start: dict[str, float] = {knob.name: knob.default for knob in knobs}
    study.enqueue_trial(start)
    if "learning_rate" in start:
        for factor in PROBES:
            study.enqueue_trial(start | {"learning_rate": factor})
    return study


def new_sampler(settings: TuningSettings, seed: int) -> optuna.samplers.BaseSampler:
    """The sampler by its name in the settings."""
    with warnings.catch_warnings():
        # Both, or arguments of them, are marked as experimental in some versions: their interface may change.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if settings.sampler == "gp":
            return optuna.samplers.GPSampler(
                seed=seed, n_startup_trials=STARTUP, deterministic_objective=False
            )
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP, multivariate=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Within it Optuna logs nothing but errors; what was set before comes back."""
    before = optuna.logging.get_verbosity()
    # Its warnings are about its own speed; what became of a trial is in the summary.
    optuna.logging.set_verbosity(max(before, optuna.logging.ERROR))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _quantile_bins(y: NDArray[Any], most: int = 10) -> NDArray[np.intp]:
    """Tenths of the targets by their order."""
    ranks = np.argsort(np.argsort(y, kind="stable"), kind="stable")
    return np.asarray(ranks * most // len(y), np.intp)
