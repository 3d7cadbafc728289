"""What a user brings along: predictions in a CSV file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from classic_cv.compare.predictions import read_predictions
from classic_cv.errors import DatasetError

CLASSES = ("blue", "green", "red")
NAMES = ("test/red/1.png", "test/red/2.png", "test/blue/1.png", "test/grün/ä,ö.png")


def csv_file(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    path = tmp_path / "predictions.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_labels_are_read_in_the_order_of_the_images(tmp_path: Path) -> None:
    text = 'path,label\ntest/blue/1.png,blue\n"test/grün/ä,ö.png",green\ntest/red/2.png,red\ntest/red/1.png,blue\n'
    found = read_predictions(csv_file(tmp_path, text), NAMES, CLASSES)
    assert found.labels.tolist() == [0, 2, 0, 1]
    assert found.labels.dtype == np.int64
    assert (found.probabilities, found.ms, found.notes) == (None, None, ())


def test_probabilities_and_milliseconds_are_read(tmp_path: Path) -> None:
    text = (
        "red;path;blue;ms;green\n0.7;test/red/1.png;0.2;1.5;0.1\n0.1;test/red/2.png;0.3;2;0.6\n"
        "0;test/blue/1.png;1;3;0\n0.25;test/grün/ä,ö.png;0.5004;4e0;0.25\n"
    )
    found = read_predictions(csv_file(tmp_path, text, "utf-8-sig"), NAMES, CLASSES)
    assert found.labels.tolist() == [2, 1, 0, 0]
    assert found.probabilities is not None
    np.testing.assert_allclose(found.probabilities[0], [0.2, 0.1, 0.7], atol=1e-6)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-6)
    assert found.ms is not None
    assert found.ms.tolist() == [1.5, 2, 3, 4]


def test_a_label_beside_probabilities_is_what_counts(tmp_path: Path) -> None:
    text = "path,label,blue,green,red\n" + "".join(f'"{name}",green,0.5,0.2,0.3\n' for name in NAMES)
    found = read_predictions(csv_file(tmp_path, text), NAMES, CLASSES)
    assert found.labels.tolist() == [1, 1, 1, 1]
    assert found.probabilities is not None


def test_names_may_be_windows_paths_longer_paths_or_base_names(tmp_path: Path) -> None:
    rows = [
        r"C:\data\test\red\1.png,red",
        "./test/red/2.png,red",
        "/home/me/flowers/test/blue/1.png,blue",
        '"a\u0308,o\u0308.png",green',  # decomposed, as macOS writes it
        "train/red/1.png,red",
        "other.png,red",
    ]
    found = read_predictions(csv_file(tmp_path, "path,label\n" + "\n".join(rows)), NAMES, CLASSES)
    assert found.labels.tolist() == [2, 2, 0, 1]
    assert found.notes == ("2 rows of other images than the test images are not used",)


def test_class_names_may_be_composed_otherwise(tmp_path: Path) -> None:
    text = "path,label\na.png,Blu\u0308te\n"
    assert read_predictions(csv_file(tmp_path, text), ["a.png"], ["Blatt", "Bl\u00fcte"]).labels.tolist() == [
        1
    ]


FULL = 'test/red/1.png,red\ntest/red/2.png,red\ntest/blue/1.png,blue\n"test/grün/ä,ö.png",green\n'


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "has no predictions; expected are a header and a row for each of 4 images"),
        ("path,label\n", "has no predictions"),
        (
            "path,label\ntest/red/1.png,red\n",
            "3 of 4 test images have no prediction: 'test/red/2.png', 'test/blue/1",
        ),
        (
            "path,label\n1.png,red\n",
            "line 2: 2 test images are called '1.png', such as 'test/red/1.png', 'test/blue",
        ),
        (
            "path,label\n" + FULL + "test/red/2.png,red\n",
            "lines 3 and 6 are both for 'test/red/2.png'; keep one",
        ),
        (
            "path,label\n" + FULL.replace("1.png,blue", "1.png,pink"),
            "line 4: label 'pink' is no class; the classes",
        ),
        (
            "image,label\n" + FULL,
            "no path column; its columns are: image, label; expected are path, label or",
        ),
        ("path,klass\n" + FULL, "no label column, and none for the classes 'blue', 'green', 'red'"),
        ("path,label,red\ntest/red/1.png,red,1\n", "no column for the classes 'blue', 'green'"),
        ("path,label,path\n" + FULL, "column 'path' occurs more than once"),
        ("path,file,label\n" + FULL, "both a path and a file column"),
        ("path,label\ntest/red/1.png,red,1\n", "line 2: 3 fields where the header has 2"),
        (
            "path,label,ms\n" + FULL.replace("\n", ",fast\n"),
            "line 2: ms is 'fast', expected is a number such as",
        ),
        ("path,label,ms\n" + FULL.replace("\n", ",-1\n"), "line 2: ms is below 0"),
        ("path,label,ms\n" + FULL.replace("\n", ",nan\n"), "line 2: ms is 'nan', expected is a number"),
        ('path,label\n"test/red/1.png,red\n', "line 2"),
    ],
)
def test_what_is_wrong_with_predictions_is_said(tmp_path: Path, text: str, error: str) -> None:
    with pytest.raises(DatasetError, match=f"predictions.csv: .*{error}"):
        read_predictions(csv_file(tmp_path, text), NAMES, CLASSES)


@pytest.mark.parametrize(
    ("row", "error"),
    [
        (
            "0.5,0.5,0.5",
            "line 2: the values of the classes are from 0.5 to 0.5 and sum to 1.5, expected are prob",
        ),
        ("1.5,-0.5,0", "from -0.5 to 1.5 and sum to 1"),
        ("0.5,0.5,x", "line 2: red is 'x', expected is a number such as 0.25"),
        ("0.5,0.498,0", "sum to 0.998"),
    ],
)
def test_rows_that_are_no_probabilities_are_refused(tmp_path: Path, row: str, error: str) -> None:
    with pytest.raises(DatasetError, match=error):
        read_predictions(csv_file(tmp_path, f"path,blue,green,red\na.png,{row}\n"), ["a.png"], CLASSES)


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such file"):
        read_predictions(tmp_path / "none.csv", NAMES, CLASSES)
    with pytest.raises(DatasetError, match="line 2 is not UTF-8 text; save the file as UTF-8"):
        read_predictions(csv_file(tmp_path, "path,label\nä,red\n", "latin-1"), NAMES, CLASSES)
