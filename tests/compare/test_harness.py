"""The harness catches what must not be, names it, and goes on; and it keeps what is done."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from classic_cv.compare.entries import parse_entry
from classic_cv.compare.harness import Done, Harness, Run
from tests.compare.conftest import MakeHarness, WriteContestant

TWO_CORES = len(os.sched_getaffinity(0)) > 1


def go(harness: Harness, contestant: str, budget: float = 20.0) -> Done:
    return harness.run(Run(parse_entry(contestant), budget, 0, harness.arena.train))


def outcome(done: Done) -> tuple[str, str]:
    return done.result["outcome"], done.result["message"]


def test_a_sound_contestant_is_fitted_scored_and_timed(
    discs: Path, make_harness: MakeHarness, write_contestant: WriteContestant
) -> None:
    harness = make_harness(discs)
    done = go(harness, write_contestant())
    assert outcome(done) == ("ok", "")
    # Always the first class, of two with as many test images.
    assert done.result["accuracy"] == 0.5
    assert done.result["n_fit"] == 40
    harness.time([done], 2, 10)
    assert outcome(done) == ("ok", "")
    assert done.result["latency_ms"]["n"] == 20
    assert len(done.result["latency_ms"]["restarts"]) == 2
    assert done.result["threads"]["cores"] == 1
    assert done.result["model_bytes"] == 1


def test_opening_a_test_image_disqualifies(
    discs: Path, make_harness: MakeHarness, write_contestant: WriteContestant
) -> None:
    image = discs / "test" / "red" / "00.png"
    fit = f"""
    try:
        open({str(image)!r}, "rb").read()
    except OSError:
        pass
    return store(task)
    """
    kind, message = outcome(go(make_harness(discs), write_contestant(fit)))
    assert kind == "disqualified"
    assert message == f"tried to open what belongs to the test part: {image}"


def test_a_link_to_a_test_image_and_a_list_of_its_class_are_refused_too(
    discs: Path, make_harness: MakeHarness, write_contestant: WriteContestant, tmp_path: Path
) -> None:
    link = tmp_path / "innocent.png"
    link.symlink_to(discs / "test" / "red" / "00.png")
    harness = make_harness(discs)
    opened = write_contestant(f"return open({str(link)!r}, 'rb') and store(task)", "linked")
    assert outcome(go(harness, opened)) == (
        "disqualified",
        f"tried to open what belongs to the test part: {link}",
    )
    folder = discs / "test" / "green"
    listed = write_contestant(f"import os\nos.listdir({str(folder)!r})\nreturn store(task)", "listed")
    assert outcome(go(harness, listed)) == (
        "disqualified",
        f"tried to open what belongs to the test part: {folder}",
    )


def test_the_labels_of_a_manifest_are_refused(
    discs: Path, make_harness: MakeHarness, write_contestant: WriteContestant, tmp_path: Path
) -> None:
    manifest = tmp_path / "labels.csv"
    rows = [
        f"{file},{file.parent.name},{file.parent.parent.name}" for file in sorted(discs.glob("*/*/*.png"))
    ]
    manifest.write_text("\n".join(["path,class,split", *rows]), encoding="utf-8")
    harness = make_harness(manifest)
    done = go(harness, write_contestant(f"open({str(manifest)!r})\nreturn store(task)"))
    assert outcome(done) == ("disqualified", f"tried to open what belongs to the test part: {manifest}")


@pytest.mark.skipif(not TWO_CORES, reason="needs a machine with two cores")
def test_more_threads_than_allowed_disqualify(
    discs: Path, make_harness: MakeHarness, write_contestant: WriteContestant
) -> None:
    fit = """
    import os
    os.sched_setaffinity(0, range(os.cpu_count()))
    time.sleep(30)
    return store(task)
    """
    kind, message = outcome(go(make_harness(discs), write_contestant(fit)))
    assert kind == "disqualified"
    assert "more threads at a time than the others have" in message


def test_a_contestant_that_works_on_in_another_process_is_charged_for_it(
    discs: Path, make_harness: MakeHarness, write_contestant: WriteContestant
) -> None:
    fit = """
    import subprocess, sys
    busy = "import time; start = time.process_time()\\nwhile time.process_time() - start < 5: pass"
    # A shell in between that ends at once: its child is an orphan.
    subprocess.run(["sh", "-c", f"{sys.executable} -c '{busy}' &"], check=True)
    time.sleep(0.3)
    while task.budget.used() < 1.0:
        time.sleep(0.05)
    return store(task)
    """
    done = go(make_harness(discs), write_contestant(fit))
    assert outcome(done) == ("ok", "")
    assert done.result["fit_cpu_seconds"] >= 1.0


def test_overrunning_a_little_is_marked_and_measured(
    discs: Path, make_harness: MakeHarness, write_contestant: WriteContestant
) -> None:
    fit = """
    while task.budget.used() < 1.3:
        pass
    return store(task)
    """
    done = go(make_harness(discs), write_contestant(fit), budget=1.0)
    kind, message = outcome(done)
    assert kind == "over budget"
    assert message.startswith("used 1.")
    assert message.endswith("CPU seconds of 1")
    assert done.accuracy == 0.5


def test_overrunning_by_far_ends_the_fit(
    discs: Path, make_harness: MakeHarness, write_contestant: WriteContestant
) -> None:
    harness = make_harness(discs, grace=0.5)
    done = go(harness, write_contestant("while True:\n    pass"), budget=1.0)
    kind, message = outcome(done)
    assert kind == "over budget"
    assert message.endswith("CPU seconds of 1, without a model")
    assert done.accuracy is None


def test_what_was_kept_is_taken_when_the_budget_ends(
    discs: Path, make_harness: MakeHarness, write_contestant: WriteContestant
) -> None:
    fit = """
    fitted = store(task)
    fitted.n_fit = 7
    task.keep(fitted)
    while True:
        pass
    """
    done = go(make_harness(discs), write_contestant(fit), budget=4.0)
    assert outcome(done) == ("ok", "")
    assert done.result["n_fit"] == 7
    assert 4.0 < done.result["fit_cpu_seconds"] <= 4.0 * 1.05
    assert done.accuracy == 0.5


def test_hanging_crashing_and_failing_are_outcomes_and_the_next_one_runs(
    discs: Path, make_harness: MakeHarness, write_contestant: WriteContestant
) -> None:
    harness = make_harness(discs, wall_least=1.5, wall_factor=0.1)
    hangs = go(harness, write_contestant("time.sleep(60)", "hangs"), budget=1.0)
    assert outcome(hangs)[0] == "hung"
    assert outcome(hangs)[1].startswith("no model after 2 s")
    crashes = go(
        harness, write_contestant("import os\nprint('last words', flush=True)\nos.abort()", "crashes")
    )
    assert outcome(crashes)[0] == "crashed"
    assert outcome(crashes)[1].startswith("its process was ended by SIGABRT; last line: ")
    fails = go(harness, write_contestant("raise ValueError('no idea')", "fails"))
    assert outcome(fails) == ("failed", "ValueError: no idea")
    assert outcome(go(harness, write_contestant(name="sound"))) == ("ok", "")


def test_eating_memory_ends_the_contestant(
    discs: Path, make_harness: MakeHarness, write_contestant: WriteContestant
) -> None:
    harness = make_harness(discs, memory_limit=400 * 10**6)
    fit = """
    eaten = []
    for _ in range(40):
        eaten.append(np.ones(25 * 2**17))
        time.sleep(0.05)
    return store(task)
    """
    kind, message = outcome(go(harness, write_contestant(fit)))
    assert kind == "out of memory"
    assert message.endswith("MB, allowed are 400")


def test_answers_that_are_no_probabilities_fail(
    discs: Path, make_harness: MakeHarness, write_contestant: WriteContestant
) -> None:
    harness = make_harness(discs)
    nan = "Constant.probabilities = lambda self, images: np.full((len(images), 2), np.nan)"
    done = go(harness, write_contestant(name="nan", extra=nan))
    assert outcome(done) == ("failed", "while it answered: gave probabilities that are no numbers from 0 on")
    narrow = "Constant.probabilities = lambda self, images: np.ones((len(images), 1))"
    done = go(harness, write_contestant(name="narrow", extra=narrow))
    assert outcome(done)[1] == "while it answered: gave probabilities of shape (20, 1), expected (20, 2)"


def test_timed_answers_have_to_be_the_scored_ones(
    discs: Path, make_harness: MakeHarness, write_contestant: WriteContestant
) -> None:
    harness = make_harness(discs)
    done = go(harness, write_contestant(extra="Constant.label = lambda self, image: 1"))
    harness.time([done], 1, 15)
    assert outcome(done) == (
        "disqualified",
        "15 of 15 timed answers differ from those that are scored: accuracy and time have to be of the same model",
    )


def test_what_is_done_is_not_done_again(
    discs: Path, make_harness: MakeHarness, write_contestant: WriteContestant
) -> None:
    name = write_contestant("(task.folder / 'when').write_text(str(time.time_ns()))\nreturn store(task)")
    harness = make_harness(discs)
    first = go(harness, name)
    again = go(harness, name)
    when = [(one.slot.model / "when").read_text() for one in (first, again)]
    assert when[0] == when[1]
    assert again.result == first.result
    other = go(harness, name, budget=30.0)
    assert (other.slot.model / "when").read_text() != when[0]


def test_an_unfinished_run_is_begun_anew(
    discs: Path, make_harness: MakeHarness, write_contestant: WriteContestant
) -> None:
    harness = make_harness(discs)
    name = write_contestant()
    run = Run(parse_entry(name), 20.0, 0, harness.arena.train)
    slot = harness.store.slot(run.entry.name, harness._identity(run))
    slot.clear()
    (slot.model / "half").write_text("of a model")
    done = harness.run(run)
    assert outcome(done) == ("ok", "")
    assert not (done.slot.model / "half").exists()


def test_shuffled_labels_are_those_of_the_training_images_in_another_order(
    discs: Path, make_harness: MakeHarness
) -> None:
    harness = make_harness(discs)
    folder = harness.store.folder / "bundle"
    folder.mkdir()
    harness._write_bundle(Run(parse_entry("shuffled"), 20.0, 3, harness.arena.train), folder)
    with np.load(folder / "labels.npz") as labels:
        y = labels["y"]
    truth = harness.arena.y[harness.arena.train]
    assert sorted(y) == sorted(truth)
    assert 5 < (y != truth).sum() < 35
