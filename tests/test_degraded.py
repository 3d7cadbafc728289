"""What being degraded costs: figures by hand, a primary that fails, and the command that shows both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from classic_cv import evaluation
from classic_cv.cli import cli
from classic_cv.dataset import Dataset, load_dataset
from classic_cv.degraded import NO_ANSWER, ask_all, check_shares, degraded_figures
from classic_cv.errors import ParameterError
from classic_cv.evaluation import evaluate
from classic_cv.model import Model
from classic_cv.primary import Primary
from classic_cv.report import degraded_text, evaluate_text
from classic_cv.stats import accuracy_interval


def labels(*values: int) -> NDArray[np.intp]:
    return np.array(values, np.intp)


Y = labels(0, 0, 1, 1, 2, 2, 0, 1, 2, 0)
GOOD = labels(0, 0, 1, 1, 2, 2, 0, 1, 2, 1)
"""Right on nine of ten."""
POOR = labels(0, 0, 1, 1, 2, 2, 1, 0, 0, 0)
"""Right on seven; of these one is wrong in ``GOOD``."""


def test_accuracy_and_loss_go_linearly_from_the_primary_to_the_fallback() -> None:
    found = degraded_figures(GOOD, POOR, Y, [0.25, 0.5])
    assert [row["share"] for row in found["shares"]] == [0.0, 0.25, 0.5, 1.0]
    np.testing.assert_allclose([row["accuracy"] for row in found["shares"]], [0.9, 0.85, 0.8, 0.7])
    np.testing.assert_allclose([row["loss"] for row in found["shares"]], [0, 0.05, 0.1, 0.2], atol=1e-12)
    assert (found["n"], found["n_failed"]) == (10, 0)


def test_the_ends_have_the_interval_of_an_accuracy() -> None:
    first, middle, last = degraded_figures(GOOD, POOR, Y, [0.5])["shares"]
    np.testing.assert_allclose(first["accuracy_ci95"], accuracy_interval(9, 10))
    np.testing.assert_allclose(last["accuracy_ci95"], accuracy_interval(7, 10))
    # Six images are right by both, four by one of them: eight right ones.
    np.testing.assert_allclose(middle["accuracy_ci95"], accuracy_interval(8, 10))


def test_between_the_ends_an_interval_is_as_wide_as_the_figure_is_uncertain() -> None:
    y = np.zeros(50, np.intp)
    primary = y.copy()
    primary[0] = 1
    _, middle, _ = degraded_figures(primary, y, y, [0.5])["shares"]
    low, high = middle["accuracy_ci95"]
    # Near 49.5 of 50: between the intervals of 49 and of 50.
    assert accuracy_interval(49, 50)[0] < low < accuracy_interval(50, 50)[0] < 0.93
    assert accuracy_interval(49, 50)[1] < high < 1


def test_the_loss_is_of_the_same_images() -> None:
    first, *_, last = degraded_figures(GOOD, POOR, Y, [])["shares"]
    assert first["loss_ci95"] == [0.0, 0.0]
    low, high = last["loss_ci95"]
    assert low < 0.2 < high
    # Equally right on the same images: how much is lost on others is not known.
    same = degraded_figures(GOOD, GOOD, Y, [0.5])
    assert [row["loss_ci95"] for row in same["shares"]] == [[0.0, 0.0], None, None]
    assert degraded_text({"primary": "net.onnx", "failures": [], **same}).count(" -\n") == 2
    assert degraded_figures(Y[:1], Y[:1], Y[:1], [])["shares"][-1]["loss_ci95"] is None


def test_agreement_is_of_the_images_that_were_answered() -> None:
    found = degraded_figures(GOOD, POOR, Y, [])
    assert found["agreement"] == 0.6
    assert found["agreement_ci95"] == list(accuracy_interval(6, 10))
    failed = np.where(np.arange(10) < 6, NO_ANSWER, GOOD).astype(np.intp)
    found = degraded_figures(failed, POOR, Y, [])
    assert (found["agreement"], found["n_failed"]) == (0.0, 6)


def test_images_that_the_primary_did_not_answer_are_fallbacks_at_every_share() -> None:
    failed = GOOD.copy()
    # Right in both; wrong in the fallback; right only there.
    failed[[0, 7, 9]] = NO_ANSWER
    found = degraded_figures(failed, POOR, Y, [])
    assert [row["accuracy"] for row in found["shares"]] == pytest.approx([0.9, 0.7])


@pytest.fixture(scope="module")
def dataset(faces: Path) -> Dataset:
    return load_dataset(faces)


def answering(script: list[Any]) -> Primary:
    """One that answers, or raises, what is given, one after another."""
    steps = iter(script)

    def ask(image: Any, timeout: float) -> Any:
        assert isinstance(image, bytes)
        step = next(steps)
        if isinstance(step, Exception):
            raise step
        return step

    return Primary(ask)


def test_each_image_is_asked_for_once_and_failures_are_named(dataset: Dataset) -> None:
    late = TimeoutError("too slow")
    late.add_note("see the manual")
    script = [[0.9, 0.1], late, [0.2, 0.8], [0.5, float("nan")], None]
    done: list[tuple[str, int, int]] = []
    found, failures = ask_all(
        answering(script), 2, dataset, np.arange(5), lambda *progress: done.append(progress)
    )
    assert found.tolist() == [0, NO_ANSWER, 1, NO_ANSWER, NO_ANSWER]
    assert [failure.image for failure in failures] == [dataset.names[k] for k in (1, 3, 4)]
    assert failures[0].reason == "TimeoutError: too slow"
    assert "not finite" in failures[1].reason
    assert "NoneType" in failures[2].reason
    assert done[-1] == ("primary", 5, 5)


def test_a_primary_that_answers_nothing_is_not_asked_for_all(dataset: Dataset) -> None:
    with pytest.raises(ParameterError, match="answered none of 10 images, the first one with: OSError: no 0"):
        ask_all(answering([OSError(f"no {n}") for n in range(10)]), 2, dataset, np.arange(100))
    with pytest.raises(ParameterError, match="answered none of 3 images"):
        ask_all(answering([OSError()] * 3), 2, dataset, np.arange(3))


def test_what_cannot_be_measured(model: Model) -> None:
    with pytest.raises(ParameterError, match=r"1.5: a share of fallbacks is a number from 0 to 1"):
        check_shares(model, [0.5, 1.5])
    metadata = msgspec.structs.replace(model.metadata, task="regression", class_names=())
    numbers = Model(model.recipe, model.featurizer, model.head, None, metadata)
    with pytest.raises(ParameterError, match="this model estimates a number"):
        check_shares(numbers, [])


def test_the_text_names_failures_and_says_how_many_are_left_out() -> None:
    failed = GOOD.copy()
    failed[:3] = NO_ANSWER
    failures = [{"image": f"{n}.png", "reason": "late"} for n in range(3)]
    found = {"primary": "net.onnx", **degraded_figures(failed, POOR, Y, [0.015]), "failures": failures}
    text = degraded_text(found, most=2)
    assert "as the fallback of net.onnx" in text
    for row in found["shares"]:
        assert f"{100 * row['accuracy']:.1f} %" in text
    assert "1.5 %" in text
    assert "3 images, which count as fallbacks" in text
    assert "  1.png: late\n  and 1 more: see --json" in text
    assert "2.png" not in text


@pytest.fixture(scope="module")
def wrong_file(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that always names the other class."""
    metadata = msgspec.structs.replace(model.metadata, class_names=model.class_names[::-1])
    wrong = Model(
        model.recipe, model.featurizer, model.head, model.calibrator, metadata, model.maps, model.mean
    )
    path = tmp_path_factory.mktemp("wrong") / "wrong.safetensors"
    wrong.save(path)
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=True)


def test_the_command_shows_what_the_library_measures(
    model: Model, model_file: Path, wrong_file: Path, faces: Path
) -> None:
    found = run("evaluate", model_file, faces, "--primary", wrong_file, "--fallback", "0.25", "--json", "-")
    figures = json.loads(found.stdout)
    degraded = figures["degraded"]
    accuracy = figures["accuracy"]
    # The primary is wrong wherever the model is right.
    assert [row["share"] for row in degraded["shares"]] == [0.0, 0.25, 1.0]
    expected = [1 - accuracy, 0.75 * (1 - accuracy) + 0.25 * accuracy, accuracy]
    assert [row["accuracy"] for row in degraded["shares"]] == pytest.approx(expected)
    assert degraded["shares"][-1]["accuracy_ci95"] == pytest.approx(figures["accuracy_ci95"])
    assert (degraded["agreement"], degraded["n_failed"], degraded["failures"]) == (0.0, 0, [])
    assert degraded["primary"] == str(wrong_file)
    assert degraded_text(degraded) in evaluate_text(figures)


def test_the_library_takes_any_primary(model: Model, faces: Path) -> None:
    figures = evaluate(model, faces, primary=lambda image: model.predict_proba([image])[0], jobs=1)
    degraded = figures["degraded"]
    assert degraded["agreement"] == 1.0
    assert [row["share"] for row in degraded["shares"]] == [0.0, 0.01, 0.1, 0.5, 1.0]
    assert [row["accuracy"] for row in degraded["shares"]] == pytest.approx([figures["accuracy"]] * 5)


def test_what_the_primary_leaves_open_is_noted_and_it_is_shown_the_token(
    model: Model, faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Any] = []

    def primary_of(source: Any, model: Model, *, token: str | None) -> Primary:
        shown.append(token)
        return Primary(lambda image, timeout: [0.5, 0.5], assumed=lambda: ("no names are said",))

    monkeypatch.setattr(evaluation, "primary_of", primary_of)
    figures = evaluate(model, faces, primary="http://host/v2/models/m", token="secret", jobs=1)
    assert shown == ["secret"]
    assert "no names are said" in figures["notes"]
    assert "no names are said" not in evaluate(model, faces, jobs=1)["notes"]


def test_wrong_usage(model_file: Path, faces: Path, wrong_file: Path) -> None:
    alone = run("evaluate", model_file, faces, "--fallback", "0.1")
    assert alone.exit_code == 2
    assert "--fallback needs --primary" in alone.output
    for shares in ("1.5", "half", "0.1,", "-0.1"):
        found = run("evaluate", model_file, faces, "--primary", wrong_file, "--fallback", shares)
        assert found.exit_code == 2
        assert "expected shares from 0 to 1 such as 0.01,0.1,0.5" in found.output
    missing = run("evaluate", model_file, faces, "--primary", faces / "no.onnx")
    assert isinstance(missing.exception, Exception)
    assert "no.onnx" in str(missing.exception)
