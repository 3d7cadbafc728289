"""When a model does not answer: the threshold, and the models that have no use for one."""

from __future__ import annotations

from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from classic_cv.abstention import UNKNOWN, AbstentionError, abstains, check_abstention
from classic_cv.fitting import fit
from classic_cv.model import Model, load


def test_a_class_that_is_as_probable_as_asked_is_answered() -> None:
    probabilities = np.array([[0.9, 0.1], [0.1, 0.9], [0.5, 0.5], [0.8999, 0.1001]], np.float32)
    # 0.9 in single precision is below 0.9 in double precision.
    assert abstains(probabilities, 0.9).tolist() == [False, False, True, True]
    assert abstains(probabilities, 0.5).tolist() == [False] * 4
    assert bool(abstains(probabilities[3], 0.9))


def test_a_model_says_unknown_instead_of_an_improbable_class(model: Model, faces: Path) -> None:
    images = sorted((faces / "test").rglob("*.png"))
    top = model.predict_proba(images).max(axis=1)
    threshold = float(np.median(top))
    expected = np.where(top < np.float32(threshold), UNKNOWN, model.predict(images))
    assert 0 < (expected == UNKNOWN).sum() < len(images)
    np.testing.assert_array_equal(model.predict(images, abstain=threshold), expected)
    np.testing.assert_array_equal(model.predict(images, abstain=0.01), model.predict(images))


@pytest.mark.parametrize("threshold", [0.0, -0.1, 1.1, float("nan"), float("inf")])
def test_a_threshold_is_a_probability(model: Model, threshold: float) -> None:
    with pytest.raises(AbstentionError, match="expected a probability above 0 and at most 1"):
        check_abstention(model, threshold)


def test_a_class_called_unknown_is_refused(model_file: Path) -> None:
    model = load(model_file)
    check_abstention(model, 1.0)
    model.metadata = msgspec.structs.replace(model.metadata, class_names=("face", UNKNOWN))
    with pytest.raises(AbstentionError, match=r"this model has a class 'unknown'.*fit again"):
        check_abstention(model, 0.9)


def test_a_number_has_no_probability(tmp_path: Path, small_recipe: Path) -> None:
    lines = ["file,level"]
    for value in range(0, 250, 10):
        cv2.imwrite(str(tmp_path / f"{value}.png"), np.full((16, 16, 3), value, np.uint8))
        lines.append(f"{value}.png,{value}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    model = fit(tmp_path, small_recipe, task="regression", jobs=1)
    with pytest.raises(AbstentionError, match="estimates a number"):
        model.predict([tmp_path / "0.png"], abstain=0.9)


def test_probabilities_that_are_not_calibrated_are_refused(faces: Path) -> None:
    with pytest.raises(AbstentionError, match="are not calibrated"):
        check_abstention(fit(faces, "dummy", jobs=1), 0.9)
