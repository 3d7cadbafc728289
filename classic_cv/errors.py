"""The errors that classic-cv raises on purpose.

Each message says what was given, what is allowed and what to do. The command line prints the message
without a traceback and exits with 2.
"""

from __future__ import annotations


class ClassicCVError(Exception):
    """Base of all errors below: catch this one to catch them all."""


class ImageError(ClassicCVError):
    """One image cannot be used.

    Attributes:
        source: the file path, or a name for bytes that came from elsewhere.
        reason: why, without the source.
    """

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"{source}: {reason}")
        self.source = source
        self.reason = reason

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, str]]:
        return type(self), (self.source, self.reason)


class DatasetError(ClassicCVError):
    """A data source cannot be read as a dataset, or cannot be split or learned from."""


class RecipeError(ClassicCVError):
    """A recipe is not valid; the message names the file and the key."""


class ParameterError(ClassicCVError, ValueError):
    """An estimator was given a parameter value that it does not allow."""


class ArtifactError(ClassicCVError):
    """A model file is damaged, truncated, foreign, or of a newer format; or it cannot be written."""


class ExplanationError(ClassicCVError):
    """A model's scores cannot be shared out over the parts of an image, or it has no such class."""


class LatencyError(ClassicCVError):
    """No model keeps the latency limit: the answer is no, and the command line exits with 1."""


class MissingExtraError(ClassicCVError, ImportError):
    """Something needs packages that are not installed; the message names the extra that brings them."""


class TrainingError(ClassicCVError):
    """The training of a network broke; the message names the step, the layer and the likely cause."""


class NotFittedError(ClassicCVError, ValueError, AttributeError):
    """An estimator was used before ``fit``."""
