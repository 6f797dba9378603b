"""What can go wrong between a network and its hardware.

HlsError
├── GraphError
├── FoldingError
├── VerificationError
├── CalibrationError
└── BuildError
    ├── StepError
    ├── MissingToolError
    └── ReportError
"""

from __future__ import annotations


class HlsError(Exception):
    """Root of every error that `hls` raises on purpose; the text is one line a user can act on."""


class GraphError(HlsError):
    """FINN cannot turn the network into a dataflow graph that bitloop can cost."""


class VerificationError(HlsError):
    """A network on its way to hardware is not, bit for bit, the one that was trained."""


class CalibrationError(HlsError):
    """There is nothing to calibrate with, or a file that is no calibration."""


class FoldingError(HlsError):
    """A folding that FINN's operators do not accept."""


class BuildError(HlsError):
    """An accelerator that cannot be built as it is asked for."""


class StepError(BuildError):
    """A step of a build failed; what was finished before it is kept."""


class MissingToolError(BuildError):
    """A vendor tool is not on this machine, or not in a version that is supported."""


class ReportError(BuildError):
    """A report of Vivado's that cannot be read, or that no Vivado wrote."""
