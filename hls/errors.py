"""What can go wrong between a network and its hardware.

HlsError
├── GraphError
├── FoldingError
└── VerificationError
"""

from __future__ import annotations


class HlsError(Exception):
    """Root of every error that `hls` raises on purpose; the text is one line a user can act on."""


class GraphError(HlsError):
    """FINN cannot turn the network into a dataflow graph that bitloop can cost."""


class VerificationError(HlsError):
    """A network on its way to hardware is not, bit for bit, the one that was trained."""


class FoldingError(HlsError):
    """A folding that FINN's operators do not accept."""
