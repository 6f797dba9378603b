"""What can go wrong in a search, and every other error tree of bitloop beside it.

BITLOOP_ERRORS, a tuple for `except`
├── boards.errors.BoardError
│   ├── UnknownBoardError
│   ├── BoardFileError
│   ├── UnreachableError, LoginError, ConnectionLostError, BoardTimeoutError, NoSpaceError, BoardBusyError
│   ├── RefusedError, OutputMismatchError, MeasurementsError
│   └── PackageError
│       └── BitfileError
├── models.errors.ModelError
│   ├── UnknownModelError, PolicyError, WeightsError, DeviceError, TrainingError, NetworkError
│   └── DataError
│       └── UnknownDatasetError, DownloadError, ImageFileError, SplitError
├── hls.errors.HlsError
│   ├── GraphError, VerificationError, FoldingError, CalibrationError
│   ├── SimulationError
│   │   └── UnsupportedNodeError, RtlFaultError, MismatchError, DeadlockError, SimulatorError
│   └── BuildError
│       └── StepError, MissingToolError, ReportError
└── FlowError
    ├── SettingsError
    ├── ConstraintError
    ├── RunDirectoryError
    ├── MissingExtraError
    ├── SearcherError
    ├── StoreError
    └── WorkersError
"""

from __future__ import annotations

from boards.errors import (
    BitfileError,
    BoardBusyError,
    BoardError,
    BoardFileError,
    BoardTimeoutError,
    ConnectionLostError,
    LoginError,
    MeasurementsError,
    NoSpaceError,
    OutputMismatchError,
    PackageError,
    RefusedError,
    UnknownBoardError,
    UnreachableError,
)
from hls.errors import (
    BuildError,
    CalibrationError,
    FoldingError,
    GraphError,
    HlsError,
    MissingToolError,
    ReportError,
    StepError,
    VerificationError,
)
from hls.rtlsim.errors import (
    DeadlockError,
    MismatchError,
    RtlFaultError,
    SimulationError,
    SimulatorError,
    UnsupportedNodeError,
)
from models.errors import (
    DataError,
    DeviceError,
    DownloadError,
    ImageFileError,
    ModelError,
    NetworkError,
    PolicyError,
    SplitError,
    TrainingError,
    UnknownDatasetError,
    UnknownModelError,
    WeightsError,
)


class FlowError(Exception):
    """Root of every error that `flow` raises on purpose; the text is one line a user can act on."""


class SettingsError(FlowError):
    """A setting outside its range."""


class ConstraintError(FlowError):
    """A constraint that no policy can meet."""


class RunDirectoryError(FlowError):
    """A run directory that cannot be used: it holds another run, or is not a directory."""


class MissingExtraError(FlowError):
    """A package that one of bitloop's extras brings is not installed."""


class WorkersError(FlowError):
    """Workers cannot be had, or cannot begin."""


class SearcherError(FlowError):
    """A searcher asked for a policy that it may not ask for."""


class StoreError(FlowError):
    """The store of trials cannot be read or written."""


BITLOOP_ERRORS = (BoardError, ModelError, HlsError, FlowError)

__all__ = [
    "BITLOOP_ERRORS",
    "BitfileError",
    "BoardBusyError",
    "BoardError",
    "BoardFileError",
    "BoardTimeoutError",
    "BuildError",
    "CalibrationError",
    "ConnectionLostError",
    "ConstraintError",
    "DataError",
    "DeadlockError",
    "DeviceError",
    "DownloadError",
    "FlowError",
    "FoldingError",
    "GraphError",
    "HlsError",
    "ImageFileError",
    "LoginError",
    "MeasurementsError",
    "MismatchError",
    "MissingExtraError",
    "MissingToolError",
    "ModelError",
    "NetworkError",
    "NoSpaceError",
    "OutputMismatchError",
    "PackageError",
    "PolicyError",
    "RefusedError",
    "ReportError",
    "RtlFaultError",
    "RunDirectoryError",
    "SearcherError",
    "SettingsError",
    "SimulationError",
    "SimulatorError",
    "SplitError",
    "StepError",
    "StoreError",
    "TrainingError",
    "UnknownBoardError",
    "UnknownDatasetError",
    "UnknownModelError",
    "UnreachableError",
    "UnsupportedNodeError",
    "VerificationError",
    "WeightsError",
    "WorkersError",
]
