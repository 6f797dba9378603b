"""A training step as a CUDA graph: what a GPU does in a step is recorded once, and started as a whole after that.

A step of a small network is hundreds of kernels of a few microseconds each. Started one after the other they leave a
GPU waiting for the processor most of the time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

_LOG = logging.getLogger(__name__)

WARM_UP_STEPS = 3  # done kernel by kernel: libraries choose their algorithms in them, the optimizer makes its momenta
WORTH_STEPS = 200  # that follow each other with one recording, which takes as long as many steps


class GraphedStep:
    """Does the same step again and again on a GPU.

    The first calls do the step as it is. Then it is recorded for the shapes at hand; other shapes, and a step that cannot
    be recorded (because it waits for the GPU), go on being done as they are.

    Args:
        step: from pixels (B, C, H, W) and labels (B,), on the GPU, to the loss, with the weights changed. It must do the
            same whatever the values are, and read what changes, such as the learning rate, from tensors on the GPU.
        device: the GPU.
    """

    def __init__(self, step: Callable[[Tensor, Tensor], Tensor], device: torch.device) -> None:
        self._step = step
        self._stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._n_done = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._read: tuple[Tensor, Tensor] | None = None
        self._loss = torch.zeros((), device=device)

    def __call__(self, pixels: Tensor, labels: Tensor) -> Tensor:
        """Do one step; the loss (no dimensions) is overwritten by the next call."""
        if self._read is None and self._n_done == WARM_UP_STEPS:
            self._record(pixels, labels)
        self._n_done += 1
        if self._graph is None or self._read is None or pixels.shape != self._read[0].shape:
            return self._aside(pixels, labels)
        for own, new in zip(self._read, (pixels, labels), strict=True):
            own.copy_(new)
        self._graph.replay()
        return self._loss

    def _aside(self, pixels: Tensor, labels: Tensor) -> Tensor:
        """The step on the stream that is recorded from: what autograd keeps of a stream must be of that one."""
        now = torch.cuda.current_stream(pixels.device)
        self._stream.wait_stream(now)
        with torch.cuda.stream(self._stream):
            loss = self._step(pixels, labels)
        now.wait_stream(self._stream)
        return loss

    def _record(self, pixels: Tensor, labels: Tensor) -> None:
        self._read = pixels.clone(), labels.clone()
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize(pixels.device)
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                self._loss = self._step(*self._read)
        except RuntimeError as error:  # torch's, of whatever cannot be recorded
            _LOG.info("training steps are done kernel by kernel, as one cannot be recorded: %s", error)
            torch.cuda.synchronize(pixels.device)
            return
        self._graph = graph
