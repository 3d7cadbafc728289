"""What the harness of ``compare`` itself adds, and how well it repeats.

    python benchmarks/harness.py --data flowers17 --recipe hog-color

Enters one recipe twice under two names, and a contestant that always gives the same answer. Prints the ratio of the
two medians, which should be 1, the two accuracies, and the median of the constant: the harness's own share of a latency
sample.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from classic_cv.compare.comparison import Options, compare

CONSTANT = '''
"""Always the first class."""
import json
import numpy as np
from classic_cv.compare.contestant import Fitted

class Constant:
    model_bytes = 1
    def __init__(self, n_classes):
        self.row = np.eye(n_classes, dtype=np.float32)[0]
    def label(self, image):
        return 0
    def probabilities(self, images):
        return np.tile(self.row, (len(images), 1))
    def stages(self, image):
        return {"decode": 0.0, "features": 0.0, "head": 0.0}
    def threads(self):
        return {}

def fit(task):
    (task.folder / "model.json").write_text(json.dumps(len(task.class_names)))
    return Fitted(len(task.train))

def load(folder, threads):
    return Constant(json.loads((folder / "model.json").read_text()))
'''


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--recipe", default="hog-color")
    parser.add_argument("--budget", type=float, default=300.0, help="CPU seconds of each fit")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        constant = Path(folder) / "constant.py"
        constant.write_text(CONSTANT, encoding="utf-8")
        names = [f"one={arguments.recipe}", f"other={arguments.recipe}", f"constant=python:{constant}"]
        record = compare(
            arguments.data,
            names,
            folder=Path(folder) / "comparison",
            options=Options(budgets=(arguments.budget,)),
            lines=lambda text: print(text, file=sys.stderr, flush=True),
        ).record
    one, other, nothing = record["contestants"]
    medians = [row["latency_ms"]["p50"] for row in (one, other)]
    print(f"accuracy           {one['accuracy']:.4f} and {other['accuracy']:.4f}")
    print(f"median ms          {medians[0]:.4f} and {medians[1]:.4f}, ratio {medians[1] / medians[0]:.4f}")
    print(f"each process       {json.dumps([row['latency_ms']['restarts'] for row in (one, other)])}")
    share = {q: 1e3 * nothing["latency_ms"][q] for q in ("p50", "p99")}
    print(f"constant           {share['p50']:.2f} microseconds (p99 {share['p99']:.2f})")
    print(
        f"CPU s of fits      {one['fit_cpu_seconds']:.1f} and {other['fit_cpu_seconds']:.1f} of {arguments.budget:g}"
    )


if __name__ == "__main__":
    main()
