"""What findings of shortcuts have in common: how classes are named, how severe it is, which images are shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from classic_cv.checks.evidence import Evidence
from classic_cv.checks.finding import Item, Severity
from classic_cv.report import percent
from classic_cv.task import listed

ALPHA = 0.01
"""Of all properties and classes together (Holm): chance raises an alarm in one of a hundred data sets at most."""

PERFECT = 0.98
"""Area under the ROC curve of what pixels show from which a class is said to be given away: classes that really look
different reach 0.97 by sharpness or brightness alone."""

HALF = 0.5
"""Share of the classes from which a shortcut makes the score as a whole worthless: an error."""

EXAMPLES = 6
"""Images of each class that are shown."""

MOST_CLASSES = 20
"""Classes of which images are shown."""

SCORING = "AUC of its class"
SCORING_PART = "share of its class"
WHY = "A model can learn this in place of what images show: it scores well here and fails on images from elsewhere."


def told(codes: Sequence[int], evidence: Evidence) -> str:
    """``Class rose can be told from the others``, or how many classes and which."""
    names = [evidence.class_name(code) for code in codes]
    if len(names) == 1:
        return f"Class {names[0]} can be told from the others"
    return f"{len(names)} of {len(evidence.classes)} classes ({listed(names)}) can be told from the others"


def severity(n: int, evidence: Evidence) -> Severity:
    """Of so many classes."""
    return "error" if n >= HALF * len(evidence.classes) else "warning"


def examples(found: Sequence[tuple[int, float]], evidence: Evidence) -> tuple[Item, ...]:
    """Some images of each of these (class, score)."""
    return tuple(
        item
        for code, score in found[:MOST_CLASSES]
        for item in examples_of(code, score, evidence.codes == code, evidence)
    )


def examples_of(code: int, score: float, members: NDArray[np.bool_], evidence: Evidence) -> tuple[Item, ...]:
    """Some of these images of a class."""
    note = f"class {evidence.class_name(code)}"
    return tuple(
        Item((int(index),), score, note)
        for index in evidence.indices[members & (evidence.codes == code)][:EXAMPLES]
    )


def share_of(members: NDArray[np.bool_], code: int, evidence: Evidence) -> float:
    """Of the images of a class."""
    return float(members[evidence.codes == code].mean())


def some_of(members: NDArray[np.bool_], code: int, evidence: Evidence) -> str:
    """``20 of 40 images of class rose (50.0 %)``."""
    inside = evidence.codes == code
    n, of = int((members & inside).sum()), int(inside.sum())
    return f"{n:,} of {of:,} images of class {evidence.class_name(code)} ({percent(n / of)})"
