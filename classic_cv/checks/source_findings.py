"""Sources that give classes away, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from classic_cv.checks.evidence import Evidence
from classic_cv.checks.finding import Finding
from classic_cv.checks.predictive import Separation
from classic_cv.checks.shortcut_wording import ALPHA, HALF, SCORING, examples, told
from classic_cv.checks.sources import Source
from classic_cv.report import percent

TELLING_SOURCE = 0.95
"""Area under the ROC curve from which a source is said to give a class away."""

SHARED = 0.1
"""Share of the images in folders of several classes from which folders are places or sessions, not kinds of a class."""


def source_findings(evidence: Evidence) -> list[Finding]:
    """Findings of kinds ``source-folder``, ``source-camera``, ``source-day``, ``source-month``, ``source-group``."""
    found = {source.name: (source, _telling(source)) for source in evidence.sources}
    if found.get("day", (None, []))[1]:
        # A day lies in a month: that tells nothing more.
        found.pop("month", None)
    return [_source(source, telling, evidence) for source, telling in found.values() if telling]


def _telling(source: Source) -> list[Separation]:
    if source.name == "folder" and source.shared < SHARED:
        return []
    return [one for one in source.separations if one.auc >= TELLING_SOURCE and one.p < ALPHA]


def _source(source: Source, found: Sequence[Separation], evidence: Evidence) -> Finding:
    """A source that tells classes; the data's own groups stay together in a split, so they cost no honesty."""
    first, named = found[0], told([one.code for one in found], evidence)
    low, high = first.ci95
    return Finding(
        "shortcut",
        f"source-{source.name}",
        "info" if source.name == "group" else "warning",
        len(found),
        f"{named} by the {source.name} alone: AUC {first.auc:.3f} (95 % interval {low:.3f} to {high:.3f}); "
        f"{_where(source, first.code, evidence)}.",
        "What images of one source have in common, such as light and background, is then told as if it were the class.",
        f"Collect every class from several sources, and keep a {source.name} on one side of the split.",
        examples([(one.code, one.auc) for one in found], evidence),
        SCORING,
    )


def _where(source: Source, code: int, evidence: Evidence) -> str:
    """Where the images of a class are from: the source of most, or how many are of sources without other classes."""
    inside, name = evidence.codes == code, evidence.class_name(code)
    sources, counts = np.unique(source.values[inside], return_counts=True)
    share = float(counts.max() / counts.sum())
    if share >= HALF:
        return f"{percent(share)} of {name} have the {source.name} {str(sources[counts.argmax()])!r}"
    alone = float(np.mean(~np.isin(source.values[inside], source.values[~inside])))
    return f"{percent(alone)} of {name} have a {source.name} that no other class has"
