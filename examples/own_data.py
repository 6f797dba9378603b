"""A data set of one's own, in both forms that bitloop reads: nothing in here knows bitloop.

python examples/own_data.py shapes
make search DATASET=shapes.npz MODEL=examples/own_network.py:small MIN_FPS=20000
make search DATASET=shapes/ MODEL=examples/own_network.py:small MIN_FPS=20000 RUN=runs/shapes-folder
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ("circle", "square", "triangle")
SIZE_PX = 28


def draw(label: int, rng: np.random.Generator) -> Image.Image:
    """One shape, somewhere, of some size and brightness, on a noisy ground."""
    ground = rng.integers(0, 60, (SIZE_PX, SIZE_PX), dtype=np.uint8)
    image = Image.fromarray(ground)
    radius = int(rng.integers(5, 11))
    x, y = (int(v) for v in rng.integers(radius, SIZE_PX - radius, 2))
    light = int(rng.integers(120, 256))
    box = (x - radius, y - radius, x + radius, y + radius)
    pen = ImageDraw.Draw(image)
    if CLASSES[label] == "circle":
        pen.ellipse(box, fill=light)
    elif CLASSES[label] == "square":
        pen.rectangle(box, fill=light)
    else:
        pen.polygon([(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)], fill=light)
    return image


def main(name: str, n_train: int = 900, n_test: int = 150) -> None:
    """Write `<name>.npz`, and the same images as PNG files in `<name>/train/<class>/` and `<name>/test/<class>/`."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {"classes": np.array(CLASSES)}
    for part, n in (("train", n_train), ("test", n_test)):
        labels = np.arange(n) % len(CLASSES)
        images = [draw(label, rng) for label in labels]
        arrays |= {f"x_{part}": np.stack([np.asarray(i) for i in images]), f"y_{part}": labels}
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            folder = Path(name) / part / CLASSES[label]
            folder.mkdir(parents=True, exist_ok=True)
            image.save(folder / f"{i:04d}.png")
    np.savez_compressed(f"{name}.npz", **arrays)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(*sys.argv[1:2] or ["shapes"])
