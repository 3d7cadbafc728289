"""What the predict path imports, in a fresh process, and the public names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import classic_cv

HEAVY = ("sklearn", "scipy", "skimage", "torch", "matplotlib", "pandas", "joblib", "rich", "onnxruntime")


def imported_by(code: str, *arguments: str) -> set[str]:
    """The heavy modules in ``sys.modules`` after ``code`` ran in a fresh interpreter."""
    code += f"\nimport sys\nimport json\nprint(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    run = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout.splitlines()[-1]))


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert not imported_by("import classic_cv")


def test_loading_and_predicting_imports_nothing_heavy(model_file: Path, faces: Path) -> None:
    image = next((faces / "test").rglob("*.png"))
    code = "import sys, classic_cv; print(classic_cv.load(sys.argv[1]).predict([sys.argv[2]]))"
    assert not imported_by(code, str(model_file), str(image))


def test_the_predict_command_imports_nothing_heavy(model_file: Path, faces: Path) -> None:
    image = next((faces / "test").rglob("*.png"))
    code = "import sys; from classic_cv.cli import cli; cli.main(sys.argv[1:], standalone_mode=False)"
    assert not imported_by(code, "predict", str(model_file), str(image))


def test_explaining_and_drawing_imports_nothing_heavy(model_file: Path, faces: Path, tmp_path: Path) -> None:
    image = next((faces / "test").rglob("*.png"))
    code = "import sys; from classic_cv.cli import cli; cli.main(sys.argv[1:], standalone_mode=False)"
    drawing = tmp_path / "why.png"
    assert not imported_by(code, "predict", str(model_file), str(image), "--explain", str(drawing))
    assert drawing.is_file()


def test_answering_behind_a_primary_imports_nothing_heavy(model_file: Path, faces: Path) -> None:
    image = next((faces / "test").rglob("*.png"))
    code = (
        "import sys, classic_cv; "
        "print(classic_cv.Fallback(lambda image: None, sys.argv[1]).predict([sys.argv[2]]))"
    )
    assert not imported_by(code, str(model_file), str(image))


def test_fitting_does_import_scikit_learn() -> None:
    """The check above can fail: the same probe sees scikit-learn where it is used."""
    assert "sklearn" in imported_by("from sklearn.svm import LinearSVC")


PUBLIC = """
fit load evaluate ArtifactError BagOfVisualWords Calibrator ClassicCVError ColorHistogram Dataset DatasetError DenseLBP
DenseSIFT DoGHistogram FisherVector KeypointSIFT LocalColor PatchDictionary Patches VLAD
Explanation ExplanationError HOG ImageError ImageProperties LBP LatencyError LinearSVM LinearSVR Model
NotFittedError ParameterError Picture RBFSVM RBFSVR Recipe RecipeError Resize Split decode load_dataset
load_recipe make_split read_image HybridClassifier HybridRegressor MissingExtraError Pixels TrainingError
Breaker Fallback check
""".split()


def test_the_public_names_are_pinned_and_exist() -> None:
    assert sorted(classic_cv.__all__) == sorted(PUBLIC)
    for name in PUBLIC:
        assert getattr(classic_cv, name).__name__ == name
        assert getattr(classic_cv, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        classic_cv.nothing  # noqa: B018


def test_a_contestants_process_begins_without_anything_heavy() -> None:
    """What it imports counts in its cold start and its memory: only what it answers with should."""
    assert not imported_by("import classic_cv.compare.worker")
