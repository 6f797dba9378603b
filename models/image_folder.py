"""Reading a folder of images, one sub-folder a class, into arrays of the size a network takes.

    photos/cat/1.jpg  photos/dog/1.png …                  the test split is taken from them
    photos/train/cat/1.jpg …  photos/test/cat/2.jpg …     the test split is given

Images may be of any size and of mixed sizes: each is prepared on its own as soon as it is decoded, so that
memory holds the prepared ones only.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from models.arrays import Arrays
from models.errors import DataError, ImageFileError
from models.preparation import Preparation

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")  # no other decoder of Pillow's is run
GREY_MODES = ("1", "L", "LA")
COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
REPLACE = "replace or remove it"


def read_image(path: Path) -> Image.Image:
    """Decode an image file, of several frames the first: upright as its camera's note says, of Pillow's mode L or RGB.

    Raises:
        ImageFileError: missing, corrupt, no image, of too many pixels, of more than 8 bits a channel, or transparent.
    """
    try:
        with Image.open(path, formats=FORMATS) as file:
            if file.mode not in GREY_MODES + COLOUR_MODES:
                raise ImageFileError(f"{path} has pixels of Pillow's mode {file.mode}; 8 bits a channel are wanted; {REPLACE}")
            image = ImageOps.exif_transpose(file)
            if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
                raise ImageFileError(
                    f"{path} is transparent in places, whatever is behind; flatten it onto a background or remove it"
                )
            return image.convert("L" if file.mode in GREY_MODES else "RGB")
    except ImageFileError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageFileError(f"{path} has more than {Image.MAX_IMAGE_PIXELS:,} pixels; make it smaller or remove it") from error
    except Exception as error:  # Pillow's decoders each have errors of their own; MemoryError, too
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ImageFileError(
            f"{path} cannot be read as an image ({reason}); {', '.join(FORMATS[:-1])} and PPM are; {REPLACE}"
        ) from error


@contextmanager
def refused_bombs() -> Iterator[None]:
    """Pillow's limit of pixels an error already where it only warns, in all threads."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _is_shown(path: Path) -> bool:
    return not path.name.startswith((".", "__MACOSX"))


def _folders(folder: Path) -> list[Path]:
    return sorted((p for p in folder.iterdir() if p.is_dir() and _is_shown(p)), key=lambda p: p.name)


def _images(folder: Path) -> list[Path]:
    found = (p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and _is_shown(p) and p.is_file())
    return sorted(found, key=lambda p: p.name)


def _files_of_classes(folder: Path) -> dict[str, list[Path]]:
    """The image files of every class, classes and files sorted by name."""
    classes = _folders(folder)
    if not classes:
        what = "holds images but no sub-folders" if _images(folder) else "is empty"
        raise DataError(f"{folder} {what}; a sub-folder for each class, with its images in it, is wanted")
    if len(classes) == 1:
        raise DataError(f"{folder} has the class {classes[0].name!r} only; two sub-folders with images or more are wanted")
    files = {}
    for one in classes:
        deeper = _folders(one)
        if deeper:
            raise DataError(f"{deeper[0]} is a folder in the folder of a class; put its images into {one} or elsewhere")
        files[one.name] = _images(one)
        if not files[one.name]:
            raise DataError(f"{one} has no image ({' '.join(SUFFIXES)}); put images of that class there or remove it")
    return files


def find_images(folder: Path) -> dict[str, dict[str, list[Path]]]:
    """Part ("train", and "test" where it is given) to class to its image files, all sorted by name.

    Raises:
        DataError: no folder, no classes or a single one, a class without images, folders in the folder of a class,
            other classes in test/ than in train/, or a folder beside those two.
    """
    try:
        train, test = folder / "train", folder / "test"
        given = [part for part in (train, test) if part.is_dir() and _folders(part)]
        if not given:
            return {"train": _files_of_classes(folder)}
        if train not in given:
            raise DataError(f"{folder} has classes in test/ but none in train/; put the images to learn from into {train}")
        others = [p for p in _folders(folder) if p not in (train, test)]
        if others:
            raise DataError(f"{others[0]} is beside train/; test/ is the only other folder that is used; put it elsewhere")
        found = {part.name: _files_of_classes(part) for part in (train, test) if part.is_dir()}
    except OSError as error:
        raise DataError(f"{error.filename} cannot be listed ({error.strerror}); see to that or name another folder") from error
    odd = sorted(found["train"].keys() ^ found.get("test", found["train"]).keys())
    if odd:
        has, lacks = (train, test) if odd[0] in found["train"] else (test, train)
        raise DataError(f"{lacks} lacks the class {odd[0]!r}, which {has} has; both need a sub-folder for every class")
    return found


def read_folder(folder: Path, preparation: Preparation, progress: Callable[[int, int], None] | None = None) -> Arrays:
    """Read a folder of images, decoding with as many threads as torch uses.

    Args:
        folder: as above.
        preparation: what each image is made to be.
        progress: called with images read and images in all.

    Returns:
        The arrays that `models.arrays` describes; labels number the classes by their sorted names.

    Raises:
        ImageFileError: an image that cannot be used.
        DataError: see `find_images`; or more images than memory should hold.
    """
    found = find_images(folder)
    classes = list(found["train"])
    total = sum(len(files) for part in found.values() for files in part.values())
    preparation.check_size(total)
    arrays: Arrays = {"classes": np.array(classes)}
    done = 0
    with refused_bombs(), ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for part, files_of in found.items():
            files = [(file, label) for label, name in enumerate(classes) for file in files_of[name]]
            x = np.empty((len(files), preparation.height_px, preparation.width_px, preparation.channels), np.uint8)

            def read(i: int, x: np.ndarray = x, files: list[tuple[Path, int]] = files) -> None:
                x[i] = preparation.pixels(read_image(files[i][0]))

            for _ in pool.map(read, range(len(files))):
                done += 1
                if progress is not None:
                    progress(done, total)
            arrays |= {f"x_{part}": x, f"y_{part}": np.array([label for _, label in files])}
    return arrays
