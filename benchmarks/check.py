"""What `classic-cv check` finds of faults that are injected into real images, how often it cries wolf, what it costs.

    python benchmarks/check.py --photos flowers17/ --small fashion-mnist.npz
    python benchmarks/check.py --photos flowers17/ --only copies --only hashes

Each figure is printed beside what is asked of it. `copies`: changed copies of test images planted among the training
images; found means that the check names the pair. `alarms`: images that are called near-duplicates in data as they
are; the pairs are listed, since some may be real. `labels`: average precision of the ranking by random flips.
`shortcuts`: planted in one class; found means a warning or an error that names it. `novelty`: AUC of the
out-of-distribution score. `hashes`: random hashes with near ones planted. `whole`: the command as a process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._injected import (
    TRANSFORMS,
    as_folder,
    at_quality,
    bordered,
    change_class,
    emptied,
    flip_labels,
    flip_npz,
    plant_copies,
)
from classic_cv.checks.confidence import check_confidence
from classic_cv.checks.duplicates.hashes import WORDS
from classic_cv.checks.duplicates.search import nearest
from classic_cv.checks.finding import Checked
from classic_cv.checks.labels import check_labels
from classic_cv.checks.leakage import check_copies
from classic_cv.checks.preparation import survey_and_fit
from classic_cv.checks.shortcuts import check_shortcuts
from classic_cv.checks.subject import Subject
from classic_cv.checks.surveying import read_survey
from classic_cv.dataset import load_dataset
from classic_cv.demo import write_demo
from classic_cv.fitting import read_job
from classic_cv.recipe import load_recipe
from classic_cv.report import percent, table

Row = dict[str, Any]

PLANTED = 200
"""Test images that get a copy in training."""

FLIPPED = 0.05

COPY_KINDS = ("near-duplicates", "mirrored-duplicates")


def without_reference(data: Path) -> Subject:
    """The data surveyed, for checks that need no model."""
    job = read_job(data)
    return Subject(job, read_survey(job.dataset, -1), None, "not fitted here")


def row(what: str, asked: str, measured: str, good: bool | None, seconds: float, **more: Any) -> Row:
    """One line of the table."""
    return {"what": what, "asked": asked, "measured": measured, "reached": good, "seconds": seconds, **more}


def copies(name: str, data: Path, folder: Path, most: int | None, asked: bool) -> Iterator[Row]:
    """Changed copies across the parts."""
    for what, (transform, quality) in TRANSFORMS.items():
        emptied(folder)
        as_folder(load_dataset(data), folder, most)
        planted = plant_copies(folder, transform, quality, PLANTED, 0)
        start = time.perf_counter()
        subject = without_reference(folder)
        found = pairs_in(check_copies(subject), subject)
        hits = sum(frozenset(pair) in found for pair in planted)
        limit = 0.9 if "mirrored" in what else 0.95
        share = hits / len(planted)
        yield row(
            f"copies found, {name}: {what}",
            f">= {percent(limit)}" if asked and what in ASKED_COPIES else "",
            f"{percent(share)} of {len(planted)}",
            share >= limit if asked and what in ASKED_COPIES else None,
            time.perf_counter() - start,
        )


ASKED_COPIES = ("resize 70 %", "JPEG q40", "5 % crop", "brightness +20 %", "mirrored")


def pairs_in(checked: Checked, subject: Subject) -> set[frozenset[str]]:
    """Every two images that a finding on leakage calls copies of each other."""
    names = subject.dataset.names
    found = set()
    for finding in checked.findings:
        if finding.check != "leakage":
            continue
        for item in finding.items:
            files = [names[index] for index in item.indices]
            found |= {frozenset((a, b)) for a in files for b in files if a != b}
    return found


def alarms(name: str, data: Path) -> Iterator[Row]:
    """Images called near-duplicates in data as they are."""
    start = time.perf_counter()
    subject = without_reference(data)
    checked = check_copies(subject)
    groups = {
        tuple(sorted(item.indices))
        for finding in checked.findings
        if finding.kind in COPY_KINDS
        for item in finding.items
    }
    images = {index for group in groups for index in group}
    share = len(images) / len(subject.survey)
    yield row(
        f"called near-duplicates, {name} as it is",
        "< 0.1 %",
        f"{len(images)} of {len(subject.survey):,} images ({100 * share:.3f} %)",
        share < 0.001,
        time.perf_counter() - start,
        pairs=[[subject.dataset.names[index] for index in group] for group in sorted(groups)],
    )


def labels(name: str, data: Path, folder: Path, limit: float) -> Iterator[Row]:
    """Average precision of the ranking of random flips."""
    from sklearn.metrics import average_precision_score

    emptied(folder)
    if data.suffix == ".npz":
        flipped = folder / data.name
        wrong = flip_npz(data, flipped, FLIPPED, 0)
    else:
        flipped = folder
        as_folder(load_dataset(data), folder)
        wrong = flip_labels(folder, FLIPPED, 0)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as kept:
        subject = survey_and_fit(read_job(flipped), Path(kept))
        checked = check_labels(subject)
    if subject.reference is None:
        raise SystemExit(f"no reference: {subject.no_reference}")
    # Listed ones in their order, all others behind them: what a person who goes through the list would see.
    listed = [item for finding in checked.findings for item in finding.items if finding.check == "labels"]
    score = {item.indices[0]: item.score for item in listed}
    train = subject.reference.train
    truth = np.array([subject.dataset.names[index] in wrong for index in train])
    ranks = np.array([score.get(int(index), -1.0) for index in train])
    precision = float(average_precision_score(truth, ranks))
    expected = checked.figures["labels"].get("expected", {})
    yield row(
        f"random label flips of 5 %, {name}: average precision",
        f">= {limit:.2f}",
        f"{precision:.3f} ({len(wrong):,} flips; expected number {expected.get('n')}, {expected.get('ci95')})",
        precision >= limit,
        time.perf_counter() - start,
    )


def shortcuts(name: str, data: Path, folder: Path) -> Iterator[Row]:
    """A shortcut planted in one class."""
    faults: dict[str, tuple[Callable[..., bytes], str, tuple[str, ...]]] = {
        "JPEG quality 40": (at_quality(40), ".jpg", ("jpeg", "quality", "bytes", "block")),
        "JPEG quality 75": (at_quality(75), ".jpg", ("jpeg", "quality", "bytes", "block")),
        "black border of 4 px": (bordered((0, 0, 0)), ".jpg", ("border",)),
        "red border of 4 px": (bordered((200, 30, 30)), ".jpg", ("border",)),
    }
    for what, (change, suffix, words) in faults.items():
        emptied(folder)
        as_folder(load_dataset(data), folder)
        chosen = load_dataset(folder).class_names[3]
        change_class(folder, chosen, change, suffix)
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as kept:
            subject = survey_and_fit(read_job(folder), Path(kept), load_recipe("hog-color"))
            checked = check_shortcuts(subject)
        told = [f.message for f in checked.findings if f.severity != "info"]
        named = [message for message in told if chosen in message and any(word in message for word in words)]
        yield row(
            f"shortcut, {name}: {what} of class {chosen}",
            "flagged and named",
            named[0] if named else f"not named; {told}",
            bool(named),
            time.perf_counter() - start,
        )
    emptied(folder)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as kept:
        subject = survey_and_fit(read_job(data), Path(kept), load_recipe("hog-color"))
        told = [f.message for f in check_shortcuts(subject).findings if f.severity != "info"]
    yield row(
        f"shortcut, {name} as it is", "none", "; ".join(told) or "none", not told, time.perf_counter() - start
    )


def novelty(name: str, data: Path, wanted: str) -> Iterator[Row]:
    """AUC of the out-of-distribution score against other image sets."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as kept:
        subject = survey_and_fit(read_job(data), Path(kept))
    if subject.reference is None:
        raise SystemExit(f"no reference: {subject.no_reference}")
    for found in check_confidence(subject).figures["confidence"]["novelty"]:
        low, high = found["ci95"]
        yield row(
            f"out-of-distribution AUC, {name} against {found['set']}",
            ">= 0.85" if wanted in found["set"] else "",
            f"{found['auc']:.3f} ({low:.3f} to {high:.3f}, {found['n']} images)",
            found["auc"] >= 0.85 if wanted in found["set"] else None,
            time.perf_counter() - start,
        )


def hashes() -> Iterator[Row]:
    """Near-duplicate search alone."""
    seconds = {}
    for n in (100_000, 1_000_000):
        drawn, planted = random_hashes(n)
        start = time.perf_counter()
        found = nearest(drawn, np.arange(n), np.arange(n))
        seconds[n] = time.perf_counter() - start
        hits = sum(other in found.entries[one] for one, other in planted)
        yield row(
            f"search of {n:,} hashes",
            "< 180 s" if n == 1_000_000 else "",
            f"{seconds[n]:.1f} s, {percent(hits / len(planted))} of {len(planted):,} planted pairs",
            seconds[n] < 180 if n == 1_000_000 else None,
            seconds[n],
        )
    ratio = seconds[1_000_000] / seconds[100_000]
    yield row("cost at ten times the hashes", "< 15 times", f"{ratio:.1f} times", ratio < 15, 0.0)


def random_hashes(n: int) -> tuple[NDArray[np.uint64], list[tuple[int, int]]]:
    """Random hashes, of which one in a hundred is a copy of another with 5 % of its bits flipped."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 2**64, (n, WORDS), np.uint64)
    m = n // 100
    bits = rng.random((m, 64 * WORDS)) < 0.05
    noise = np.packbits(bits, axis=1).view(np.uint64)
    drawn[:m] = drawn[-m:] ^ noise
    return drawn, [(k, n - m + k) for k in range(m)]


def whole(name: str, data: Path, folder: Path, limit: float, memory: float | None) -> Iterator[Row]:
    """The command as a process: seconds and peak memory."""
    emptied(folder)
    report, out = folder / "check.html", folder / "check.json"
    command = [
        sys.executable,
        "-m",
        "classic_cv",
        "check",
        str(data),
        "--report",
        str(report),
        "--json",
        str(out),
    ]
    start = time.perf_counter()
    run = subprocess.run(["/usr/bin/time", "-f", "%M", *command], capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if run.returncode:
        raise SystemExit(run.stderr)
    gib = float(run.stderr.strip().splitlines()[-1]) / 2**20
    record = json.loads(out.read_text())
    yield row(
        f"all checks, {name}",
        f"< {limit:.0f} s" + (f", < {memory:g} GiB" if memory else ""),
        f"{seconds:.0f} s, {gib:.2f} GiB, page {report.stat().st_size / 2**20:.1f} MiB",
        seconds < limit and (memory is None or gib < memory),
        seconds,
        by_check=record["seconds_by_check"],
        reference=record["reference"] and record["reference"]["seconds"],
        findings=[f"{f['severity']} {f['check']} {f['kind']}: {f['message']}" for f in record["findings"]],
    )


def rows(options: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """All figures that are asked for."""
    wanted = options.only or FIGURES
    photos, small = options.photos, options.small
    if "hashes" in wanted:
        yield from hashes()
    if "copies" in wanted and photos:
        yield from copies(photos.name, photos, folder, None, asked=True)
    if "copies" in wanted and small:
        yield from copies(f"{small.stem}, 5,000 and 1,000 images", small, folder, 5000, asked=False)
    if "alarms" in wanted:
        write_demo(folder / "digits", "digits")
        for data in (photos, folder / "digits", small):
            if data:
                yield from alarms(data.stem, data)
    if "labels" in wanted:
        for data, limit in ((photos, 0.60), (small, 0.75)):
            if data:
                yield from labels(data.stem, data, folder, limit)
    if "shortcuts" in wanted and photos:
        yield from shortcuts(photos.name, photos, folder)
    if "novelty" in wanted:
        for data, other in ((photos, "photos"), (small, "digits")):
            if data:
                yield from novelty(data.stem, data, other)
    if "whole" in wanted:
        for data, limit, memory in ((photos, 300.0, None), (small, 480.0, 4.0)):
            if data:
                yield from whole(data.stem, data, folder, limit, memory)


FIGURES = ("hashes", "copies", "alarms", "labels", "shortcuts", "novelty", "whole")


def main() -> None:
    """Print each figure as it is measured, then the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, help="few large color images, with a test part: flowers17/")
    parser.add_argument("--small", type=Path, help="many small images, with a test part: fashion-mnist.npz")
    parser.add_argument("--only", action="append", choices=FIGURES)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory(prefix="classic-cv-check-") as folder:
        for one in rows(options, Path(folder) / "data"):
            found.append(one)
            print(json.dumps(one, ensure_ascii=False), file=sys.stderr, flush=True)
            if options.json:
                options.json.write_text(json.dumps(found, ensure_ascii=False, indent=2) + "\n")
    state = {True: "yes", False: "no", None: ""}
    print(
        table(
            ["figure", "asked", "measured", "reached", "seconds"],
            [
                [one["what"], one["asked"], one["measured"], state[one["reached"]], f"{one['seconds']:.0f}"]
                for one in found
            ],
        )
    )


if __name__ == "__main__":
    main()
