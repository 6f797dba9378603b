"""The quantizer of what a residual block adds: one for all addends, so that they are multiples of one step.

FINN adds integers. It can do so where both addends have the same scale, which then moves past the sum
(finn/transformation/streamline/reorder.py, MoveLinearPastEltwiseAdd): hence one quantizer, called once for each.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.quantizers import N_CALIBRATION, ActQuant, round_clamp


class AddendQuant(ActQuant):
    """Signed integers of 2..8 bits, from -2^(b-1) to 2^(b-1)-1; a step calibrated as an activation's is."""

    def first_step(self, bits: int) -> float:
        """A top of 4."""
        return 4.0 / float(2 ** (bits - 1) - 1)

    @property
    def _range(self) -> tuple[float, float]:
        return -float(2 ** (self.bits - 1)), float(2 ** (self.bits - 1) - 1)

    @torch.no_grad()
    def calibrate(self, x: Tensor) -> None:
        """Set the step from addends (any shape, at least one value): of 64 the one with the least mean square error."""
        sample = x.flatten()
        if sample.numel() > N_CALIBRATION:
            generator = torch.Generator().manual_seed(0)
            sample = sample[torch.randint(sample.numel(), (N_CALIBRATION,), generator=generator).to(sample.device)]
        low, high = self._range
        top = sample.abs().max().clamp_min(1e-8)
        steps = top * torch.linspace(1 / 64, 1, 64, device=sample.device) / high
        errors = torch.stack([(sample.div(s).round_().clamp_(low, high).mul_(s) - sample).pow(2).mean() for s in steps])
        self.step.copy_(steps[errors.argmin()])

    def quantize(self, x: Tensor) -> Tensor:
        """Addends (any shape) on the grid of the step, or kept in `observed`."""
        if self.observed is not None:
            self.observed.append(x.detach())
            return x
        return round_clamp(x, self.step, *self._range)
