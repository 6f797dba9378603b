"""The windows of a user's convolutions and pools: which of them can be built."""

from __future__ import annotations

from typing import Any

from models.trace import Operation, refused

# torch 2.13 on a CPU, channels last: oneDNN's gradient of the weights of a 1x1 window with a stride writes beyond its
# memory where there are fewer channels than this; found by trying 1 to 33.
SAFE_CHANNELS = 8

Facts = tuple[tuple[str, int | float | bool], ...]


def _side(o: Operation, what: str, value: Any) -> int:
    """The one number of a value for both directions."""
    sides = (value, value) if isinstance(value, int) else tuple(value)
    if len(set(sides)) != 1:
        raise refused(o, f"its {what} is {'x'.join(map(str, sides))}, and windows are square", f"give it a square {what}")
    return int(sides[0])


def _check_map(o: Operation) -> None:
    if len(o.reads) != 3 or o.reads[1] != o.reads[2]:
        shape = "x".join(map(str, o.reads))
        raise refused(o, f"it reads {shape}, and feature maps are square", "give INPUT_SHAPE as many rows as columns")


def conv_facts(o: Operation) -> Facts:
    """The numbers of a convolution, as `models.quant.conv` takes them.

    Raises:
        NetworkError: it cannot be built.
    """
    m: Any = o.module
    _check_map(o)
    if _side(o, "dilation", m.dilation) != 1:
        raise refused(o, f"its dilation is {m.dilation[0]}", "leave dilation at 1")
    if m.groups != 1 and not m.groups == m.in_channels == m.out_channels:
        allowed = "1, or as many as both input and output channels"
        raise refused(o, f"it has {m.groups} groups, and a unit reads all channels or one", f"let groups be {allowed}")
    padding = _padding(o)
    kernel, stride = _side(o, "kernel", m.kernel_size), _side(o, "stride", m.stride)
    if kernel > 1 and o.reads[1] == 1:
        raise refused(
            o, f"a window of {kernel} over a map of one pixel sees its border, which FINN does not build", "use a window of 1"
        )
    if kernel == 1 and m.groups > 1:
        raise refused(o, "a window of 1 over single channels is a scale, and needs no unit", "use a batch norm")
    if kernel == 1 and stride > 1 and m.in_channels < SAFE_CHANNELS:
        raise refused(
            o, f"PyTorch crashes in the backward pass of a 1x1 window with stride {stride} over {m.in_channels} channels",
            f"use a window of 2 or 3, or {SAFE_CHANNELS} channels",
        )  # fmt: skip
    return (
        ("in_channels", m.in_channels), ("out_channels", m.out_channels), ("kernel_size", kernel), ("stride", stride),
        ("padding", padding), ("groups", m.groups),
    )  # fmt: skip


def _padding(o: Operation) -> int:
    """Pixels of zeros around what a convolution reads."""
    m: Any = o.module
    if m.padding == "valid":
        return 0
    if m.padding == "same":
        kernel = _side(o, "kernel", m.kernel_size)
        if kernel % 2 == 0:
            raise refused(o, f"its padding is 'same' with a window of {kernel}, one side more than the other", "make it odd")
        padding = kernel // 2
    else:
        padding = _side(o, "padding", m.padding)
    if padding and m.padding_mode != "zeros":
        raise refused(o, f"its padding_mode is {m.padding_mode!r}", "leave it at 'zeros'")
    return padding


def pool_facts(o: Operation) -> Facts:
    """The numbers of a max pool, as `torch.nn.MaxPool2d` takes them.

    Raises:
        NetworkError: it cannot be built.
    """
    m: Any = o.module
    _check_map(o)
    kernel, stride = _side(o, "kernel", m.kernel_size), _side(o, "stride", m.stride)
    if _side(o, "padding", m.padding) or _side(o, "dilation", m.dilation) != 1:
        raise refused(o, f"it has padding {m.padding} and dilation {m.dilation}", "leave them at 0 and 1")
    return ("kernel_size", kernel), ("stride", stride)
