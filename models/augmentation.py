"""Augmentation: training images altered so that their labels stay true, a whole batch at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.errors import DataError

MAX_PX = 1024  # of a shift or a cutout: larger is a mistake


@dataclass(frozen=True)
class Augmentation:
    """What is done at random to training images, in this order: shifted, mirrored, a square cut out.

    Attributes:
        flip: whether each image is mirrored left to right with probability 1/2.
        shift_px: each image moves by up to so many pixels along both axes, 0 for none.
        cutout_px: side of a square blanked in each image, its centre anywhere in it, so that edges may cut it; 0 for none.
        fill: pixel value, 0 to 255, of what a shift uncovers and a cutout blanks.

    Raises:
        DataError: a value outside its range.
    """

    flip: bool = False
    shift_px: int = 0
    cutout_px: int = 0
    fill: int = 0

    def __post_init__(self) -> None:
        for name, value, most in (
            ("shift_px", self.shift_px, MAX_PX),
            ("cutout_px", self.cutout_px, MAX_PX),
            ("fill", self.fill, 255),
        ):
            if not 0 <= value <= most:
                raise DataError(f"{name} of an augmentation is {value}; a whole number from 0 to {most} is wanted")

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Altered copies of images.

        Args:
            x: uint8 (B, C, H, W), B 1 or more, on any device; fastest where it is channels last. Not changed.
            generator: what is random; one on the CPU gives the same images on every device.

        Returns:
            uint8 (B, C, H, W), channels last where anything is done.
        """
        n, _, height, width = x.shape

        def draw(end: int) -> Tensor:
            return torch.randint(end, (n,), generator=generator, device=generator.device).to(x.device)

        if self.shift_px:
            top, left = draw(2 * self.shift_px + 1), draw(2 * self.shift_px + 1)
            x = shift_images(x, top, left, self.shift_px, self.fill)
        if self.flip:
            x = mirror_images(x, (torch.rand(n, generator=generator, device=generator.device) < 0.5).to(x.device))
        if self.cutout_px:
            x = cut_out(x, draw(height), draw(width), self.cutout_px, self.fill)
        return x


NO_AUGMENTATION = Augmentation()


def shift_images(x: Tensor, top: Tensor, left: Tensor, margin_px: int, fill: int) -> Tensor:
    """The parts of images that begin at (top, left) once `margin_px` pixels of `fill` are put around them.

    Args:
        x: uint8 (B, C, H, W).
        top: int64 (B,), 0 to 2 * margin_px; `margin_px` is where the image was.
        left: the same along the other axis.
        margin_px: 1 or more.
        fill: pixel value.
    """
    n, channels, height, width = x.shape
    margin = (margin_px, margin_px)
    padded = nn.functional.pad(x.permute(0, 2, 3, 1), (0, 0, *margin, *margin), value=fill).contiguous()
    rows = torch.arange(n, device=x.device)[:, None] * padded.shape[1] + top[:, None] + torch.arange(height, device=x.device)
    starts = (rows * padded.shape[2] + left[:, None]) * channels
    # Every stretch of the memory as long as a row, wherever it begins: whole rows are copied, not pixels.
    stretches = padded.view(-1).unfold(0, width * channels, 1)
    return stretches.index_select(0, starts.view(-1)).view(n, height, width, channels).permute(0, 3, 1, 2)


def mirror_images(x: Tensor, which: Tensor) -> Tensor:
    """Images (B, C, H, W), those that `which`, bool (B,), says mirrored left to right."""
    n = len(x)
    pixels = x.permute(0, 2, 3, 1)
    both = torch.cat([pixels, pixels.flip(2)]).view(2 * n, -1)  # several times as fast as torch.where over bytes
    chosen = both.index_select(0, torch.arange(n, device=x.device) + n * which)
    return chosen.view(pixels.shape).permute(0, 3, 1, 2)


def cut_out(x: Tensor, row: Tensor, col: Tensor, size_px: int, fill: int) -> Tensor:
    """Images with a square of `fill` about (row, col), cut off at the edges.

    Source: T. DeVries, G. Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout" (2017).

    Args:
        x: uint8 (B, C, H, W).
        row: int64 (B,), of the squares' centres, in the image.
        col: the same along the other axis.
        size_px: side, 1 or more.
        fill: pixel value.
    """
    n, channels, height, width = x.shape
    offsets = torch.arange(size_px, device=x.device) - size_px // 2
    # The centre is in the image, so the row at an edge is blanked whenever the square goes beyond it.
    rows = (row[:, None] + offsets).clamp_(0, height - 1)
    cols = (col[:, None] + offsets).clamp_(0, width - 1)
    first = torch.arange(n, device=x.device)[:, None, None] * height
    index = (first + rows[:, :, None]) * width + cols[:, None, :]
    pixels = x.permute(0, 2, 3, 1).clone(memory_format=torch.contiguous_format)
    pixels.view(-1, channels).index_fill_(0, index.view(-1), fill)
    return pixels.permute(0, 3, 1, 2)
