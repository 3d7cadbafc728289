"""Single-image latency of recipes: JPEG bytes to probabilities, one image, one thread.

    python benchmarks/latency.py --data flowers17/ --recipe hog-color --recipe hog-color-lbp

Fits each recipe with a fixed C on the training part, then times images of the test part, re-encoded as JPEG
at the recipe's own size so that the figure is about the model and not about the camera; `--original` keeps
the files as they are. The peer in the same run is `cv2.imdecode` of the same bytes alone.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np

from classic_cv.dataset import load_dataset, make_split
from classic_cv.fitting import fit
from classic_cv.images import resize, to_picture
from classic_cv.model import Model
from classic_cv.recipe import Recipe, load_recipe
from classic_cv.timing import cpu_name, latencies_ms, percentiles, thread_limit


def quick(recipe: Recipe) -> Recipe:
    """The same recipe with a fixed C and gamma: the latency does not depend on them."""
    fixed = {"C": 1.0, "gamma": 0.3}
    open_ = {name: value for name, value in fixed.items() if getattr(recipe.head, name, None) == "auto"}
    return msgspec.structs.replace(recipe, head=msgspec.structs.replace(recipe.head, **open_))


def encoded_images(data: Path, model: Model, original: bool, most: int) -> list[bytes]:
    """Encoded test images, at the model's size unless ``original``."""
    dataset = load_dataset(data)
    images = []
    for index in make_split(dataset).test[:most]:
        item = dataset.read(int(index))
        if not (original and isinstance(item, bytes)):
            pixels = resize(to_picture(item).pixels, model.recipe.image.shape)
            done, encoded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
            assert done
            item = encoded.tobytes()
        images.append(item)
    return images


def measure(model: Model, images: list[bytes]) -> dict[str, Any]:
    """Percentiles of the model and of the bare decode on the same images."""
    with thread_limit(1):
        decode = latencies_ms(
            lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), images
        )
        whole = latencies_ms(lambda data: model.predict_proba([data]), images, warm_up=20)
    return {"latency_ms": percentiles(whole), "imdecode_ms": percentiles(decode), "n": len(images)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--recipe", action="append", help="a recipe; repeatable (default: hog-color)")
    parser.add_argument("--original", action="store_true", help="the files as they are")
    parser.add_argument("--images", type=int, default=500, help="at most so many images")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = []
    print(cpu_name())
    for name in arguments.recipe or ["hog-color"]:
        model = fit(arguments.data, quick(load_recipe(name)))
        row = measure(model, encoded_images(arguments.data, model, arguments.original, arguments.images))
        rows.append({"recipe": name, **row})
        ms, bare = row["latency_ms"], row["imdecode_ms"]
        print(
            f"{name:16} p50 {ms['p50']:.3f}  p90 {ms['p90']:.3f}  p95 {ms['p95']:.3f}  p99 {ms['p99']:.3f} ms   "
            f"(imdecode alone p50 {bare['p50']:.3f}, p95 {bare['p95']:.3f} ms; n = {row['n']})"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
