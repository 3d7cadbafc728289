"""What a recipe says of a hybrid head: the network, its training, its compression. Nothing heavy is imported."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from classic_cv.neural.augmentation import AugmentationSettings

Positive = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0, lt=1)]
Channels = Annotated[int, Meta(ge=1, le=4096)]
Blocks = Annotated[int, Meta(ge=0, le=64)]


class NetworkSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The convolutional part: a first convolution, stages of blocks, global average pooling.

    ``block``: ``plain`` is one 3x3 convolution, ``residual`` two with a shortcut around them (He et al. 2016,
    arXiv:1512.03385), ``dense`` one whose output joins its input (Huang et al. 2017, arXiv:1608.06993), ``separable``
    a depthwise and a pointwise one with a shortcut (Howard et al. 2017, arXiv:1704.04861).
    ``channels`` (width) and ``blocks`` (depth) have one entry per stage; every stage but the first halves the image.
    ``first``: the first convolution is learned from noise, or begins as the whitening of training patches (Coates and
    Ng 2012) and is learned on.
    ``pooling``: of the last stage, the mean over places, or the mean and the maximum.
    ``head_start``: whether the linear layer begins with what a linear model of the features alone has learned.
    ``max_parameters``: where it is a number, ``channels`` and ``blocks`` are only the shape to begin with, and the
    widest and deepest network of that shape with at most so many parameters is taken, the head and its features
    included.
    """

    block: Literal["plain", "residual", "dense", "separable"] = "separable"
    channels: Annotated[tuple[Channels, ...], Meta(min_length=1, max_length=6)] = (16, 48, 96)
    blocks: Annotated[tuple[Blocks, ...], Meta(min_length=1, max_length=6)] = (1, 3, 2)
    first: Literal["learned", "whitened"] = "learned"
    pooling: Literal["mean", "mean-max"] = "mean"
    head_start: bool = True
    max_parameters: Literal["none"] | Annotated[int, Meta(ge=100)] = "none"


class OptimizationSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the weights are learned.

    ``epochs``: passes over the training images; ``auto`` as many as the time limit allows, by the speed of the first
    steps. ``schedule``: ``one-cycle`` (Smith and Topin 2018, arXiv:1708.07120) rises to ``learning_rate`` and falls
    to zero once, ``restarts`` falls from it three times (Loshchilov and Hutter 2017, arXiv:1608.03983).
    ``sam``: the radius of sharpness-aware minimisation (Foret et al. 2021, arXiv:2010.01412), which takes twice the
    time per step; 0 is off. ``ema``: the decay per step of the averaged weights that are kept; 0 is off.
    ``patience``: epochs without a better validation figure after which training ends; 0 never ends it early.
    ``low_resolution``: share of the training, from its beginning, in which images are seen at three quarters of their
    size: more passes in the same time.
    ``bfloat16``: ``auto`` where the processor has instructions for it. ``channels_last``: memory order of images.
    ``loss``: of a regression; Huber's with delta 1 in standard deviations of the target.
    ``features_of``: which image a changed image gets its features from. ``mirrored``: from the image, or its mirror
    image where the changed one is mirrored; ``original``: always from the image; ``augmented``: from itself, computed
    for every step.
    """

    epochs: Literal["auto"] | Annotated[int, Meta(ge=1)] = "auto"
    batch_size: Annotated[int, Meta(ge=2)] = 256
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: Literal["auto"] | Positive = "auto"
    weight_decay: Literal["auto"] | Annotated[float, Meta(ge=0)] = "auto"
    schedule: Literal["one-cycle", "restarts"] = "one-cycle"
    label_smoothing: Share = 0.1
    sam: Annotated[float, Meta(ge=0)] = 0.0
    ema: Share = 0.0
    patience: Annotated[int, Meta(ge=0)] = 0
    low_resolution: Share = 0.5
    bfloat16: bool | Literal["auto"] = "auto"
    channels_last: bool = True
    loss: Literal["huber", "mse"] = "huber"
    features_of: Literal["mirrored", "original", "augmented"] = "mirrored"


class TuningSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A search for learning rate, weight decay, label smoothing, augmentation and width, inside the time limit.

    ``trials``: how many are tried at most; 0 searches nothing. ``sampler``: Gaussian processes or the multivariate
    tree-structured Parzen estimator of Optuna. ``share``: of the time limit.
    """

    trials: Annotated[int, Meta(ge=0)] = 0
    sampler: Literal["tpe", "gp"] = "tpe"
    share: Annotated[float, Meta(gt=0, lt=1)] = 0.5


class CompressionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What makes the network smaller, or better at its size.

    ``teacher``: ``none``, ``wider`` for a hybrid with ``teacher_width`` times the channels that is trained first, in
    ``teacher_share`` of the time, or the path of an ONNX classifier of the same classes (Hinton et al. 2015,
    arXiv:1503.02531). ``prune``: share of each stage's channels that are removed, those of the smallest weights in
    norm (Li et al. 2017, arXiv:1608.08710), before the last ``finetune`` share of the training.
    ``quantize``: ``int8`` weights and activations, calibrated on training images; kept where that is smaller or
    faster and loses less than half a point on the validation part.
    """

    teacher: str = "none"
    teacher_width: Annotated[float, Meta(gt=1, le=16)] = 2.0
    teacher_share: Annotated[float, Meta(gt=0, lt=1)] = 0.4
    temperature: Positive = 2.0
    prune: Share = 0.0
    finetune: Annotated[float, Meta(gt=0, lt=1)] = 0.3
    quantize: Literal["none", "int8"] = "none"


class HybridSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="hybrid"):
    """A small convolutional network whose pooled output joins the features before one linear layer.

    It sees the image at the size of ``[image]``; the features are those of ``[[features]]``, of which there may be
    none. They are standardised, and reduced to ``pca`` principal components where that is above 0.
    ``validation``: share of the training images (at most 2,500 of them) that is held out for early stopping and
    calibration. ``train.mirror`` of the recipe says whether training images are mirrored at random.
    """

    network: NetworkSettings = NetworkSettings()
    optimization: OptimizationSettings = OptimizationSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    tuning: TuningSettings = TuningSettings()
    compression: CompressionSettings = CompressionSettings()
    pca: Annotated[int, Meta(ge=0)] = 0
    class_weight: Literal["auto", "balanced", "none"] = "auto"
    validation: Annotated[float, Meta(gt=0, le=0.5)] = 0.05
