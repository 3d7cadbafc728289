"""The service as README tells of it: fitted, served, asked by curl and by tritonclient."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from classic_cv.cli import main

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SECTION = README.split("## The service\n")[1].split("\n## ")[0]
FIT, SERVE, CURL = re.findall(r"```\n(.*?)```", SECTION, flags=re.S)[0].splitlines()
[TRITON] = re.findall(r"```py\n(.*?)```", SECTION, flags=re.S)


@pytest.fixture(scope="module")
def place(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that the commands run in, with the model that the first of them writes."""
    folder = tmp_path_factory.mktemp("readme")
    # A part of them is fitted in a third of the time.
    for few in sorted(digits.glob("*/*")):
        target = folder / "digits" / few.relative_to(digits)
        target.mkdir(parents=True)
        for image in [*sorted(few.iterdir())[:40], *few.glob("0023.png")]:
            shutil.copy(image, target)
    before = Path.cwd()
    os.chdir(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", shlex.split(FIT))
        main()
    yield folder
    os.chdir(before)


@pytest.fixture(scope="module")
def address(place: Path) -> Iterator[str]:
    """Host and port of the second command's service, on a free port."""
    program, *words = shlex.split(SERVE)
    assert program == "classic-cv"
    command = [sys.executable, "-m", "classic_cv", *words, "--port", "0"]
    with subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            [found] = re.findall(r"serving digits on http://(\S+)", process.stdout.readline())
            yield found
        finally:
            process.terminate()
    assert process.returncode == 0


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not there")
def test_curl(address: str) -> None:
    command = shlex.split(CURL.replace("127.0.0.1:8000", address))
    done = subprocess.run([*command, "--silent", "--fail"], capture_output=True, check=True)
    answer = json.loads(done.stdout)
    assert (answer["label"], answer["served_by"], len(answer["predictions"])) == ("3", "model", 3)


def test_tritonclient(address: str) -> None:
    names: dict[str, object] = {}
    exec(TRITON.replace("127.0.0.1:8000", address), names)
    answer = names["answer"]
    label, probabilities, served_by = (
        answer.as_numpy(output)  # type: ignore[attr-defined]
        for output in ("label", "probabilities", "served_by")
    )
    assert (label.tolist(), served_by.tolist()) == ([b"3"], [b"model"])
    assert probabilities.shape == (1, 10)
    assert np.argmax(probabilities) == 3
    names["client"].close()  # type: ignore[attr-defined]
