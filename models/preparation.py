"""How an image becomes a network's input: said once, kept with the policy, so that a board prepares images alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.errors import DataError

# `models.train.scale_images` does it: the network's 8-bit input quantizer loses nothing, and an accelerator is
# fed with p - 128, an INT8. A data set's mean and deviation need no place here: the first batch norm takes them up.
PIXEL_OFFSET = 128
PIXEL_SCALE = 128
MAX_SIDE_PX = 4096
MAX_BYTES = 4 << 30  # of the prepared images of one part: CIFAR-10's train part has 154 MB
# Those that every Pillow has, that of a board's image included.
FILTERS = {name: Image.Resampling[name.upper()] for name in ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")}


@dataclass(frozen=True)
class Preparation:
    """From an image of any size to what a network takes, in this order.

    1. Colour: `channels` 1 makes grey of it (ITU-R 601-2 luma, Pillow's mode L), 3 makes RGB.
    2. Size: resized to `height_px` by `width_px` by Pillow with the filter `resize`. The whole image is
       kept; other proportions are stretched.
    3. Value: a pixel p enters the network as (p - pixel_offset) / pixel_scale, an accelerator as
       p - pixel_offset.

    Attributes:
        channels: 1 or 3.
        height_px, width_px: 1 to 4,096.
        resize: nearest, box, bilinear, hamming, bicubic or lanczos.
        pixel_offset, pixel_scale: 128; another network input than that is not built.

    Raises:
        DataError: a value outside its range.
    """

    channels: int
    height_px: int
    width_px: int
    resize: str = "bilinear"
    pixel_offset: int = PIXEL_OFFSET
    pixel_scale: int = PIXEL_SCALE

    def __post_init__(self) -> None:
        allowed: dict[str, tuple[object, str]] = {
            "channels": ((1, 3), "1 or 3"),
            "height_px": (range(1, MAX_SIDE_PX + 1), f"a whole number from 1 to {MAX_SIDE_PX}"),
            "width_px": (range(1, MAX_SIDE_PX + 1), f"a whole number from 1 to {MAX_SIDE_PX}"),
            "resize": (tuple(FILTERS), f"one of {', '.join(FILTERS)}"),
            "pixel_offset": ((PIXEL_OFFSET,), str(PIXEL_OFFSET)),
            "pixel_scale": ((PIXEL_SCALE,), str(PIXEL_SCALE)),
        }
        for name, (values, words) in allowed.items():
            value = getattr(self, name)
            if type(value) is not (str if name == "resize" else int) or value not in values:  # type: ignore[operator]
                raise DataError(f"{name} of a preparation is {value!r}; {words} is wanted")

    @classmethod
    def of(cls, shape: tuple[int, int, int]) -> Preparation:
        """The usual one for a network whose input is (C, H, W)."""
        return cls(*shape)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Preparation:
        """What `to_dict` gave.

        Raises:
            DataError: a key too many or too few, or a value outside its range.
        """
        names = [f.name for f in fields(cls)]
        if sorted(content) != sorted(names):
            raise DataError(f"a preparation has the keys {', '.join(sorted(content)) or 'none'}; {', '.join(names)} are wanted")
        return cls(**content)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values, for JSON."""
        return asdict(self)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one prepared image: (C, H, W)."""
        return self.channels, self.height_px, self.width_px

    def pixels(self, image: Image.Image) -> np.ndarray:
        """One image in colour and size: uint8 (H, W, C).

        Args:
            image: of Pillow's mode L or RGB; `models.image_folder.read_image` gives no other.
        """
        if self.channels == 1:
            image = image.convert("L")
        if image.size != (self.width_px, self.height_px):
            image = image.resize((self.width_px, self.height_px), FILTERS[self.resize])
        if self.channels == 3:  # of a grey image last: it is the same, and a third of the work
            image = image.convert("RGB")
        return np.asarray(image).reshape(self.height_px, self.width_px, self.channels)

    def prepare(self, x: np.ndarray) -> Tensor:
        """Images of one size in colour and size.

        Args:
            x: uint8 (N, H', W') grey, or (N, H', W', C') with 1 or 3 channels.

        Returns:
            uint8 (N, C, H, W), channels last; it shares the memory of `x` where nothing is to be done.

        Raises:
            DataError: all together are larger than `MAX_BYTES`.
        """
        self.check_size(len(x))
        x = x[..., None] if x.ndim == 3 else x
        if x.shape[1:3] == (self.height_px, self.width_px) and x.shape[3] <= self.channels:
            ready = x if x.shape[3] == self.channels else np.repeat(x, self.channels, axis=3)
        else:
            ready = np.empty((len(x), self.height_px, self.width_px, self.channels), np.uint8)
            for i, one in enumerate(x[..., 0] if x.shape[3] == 1 else x):
                ready[i] = self.pixels(Image.fromarray(one))
        return torch.from_numpy(np.ascontiguousarray(ready)).permute(0, 3, 1, 2)

    def check_size(self, n: int) -> None:
        """Raise `DataError` if `n` prepared images are larger than `MAX_BYTES`."""
        n_bytes = n * self.channels * self.height_px * self.width_px
        if n_bytes > MAX_BYTES:
            raise DataError(
                f"{n:,} images of {self.channels}x{self.height_px}x{self.width_px} have {n_bytes:,} bytes; "
                f"{MAX_BYTES:,} is the most; use fewer images or a network with a smaller input"
            )
