"""What can go wrong with networks, policies, data and training.

ModelError
├── UnknownModelError
├── NetworkError
├── PolicyError
├── DataError
│   ├── UnknownDatasetError
│   ├── DownloadError
│   ├── ImageFileError
│   └── SplitError
├── WeightsError
├── DeviceError
└── TrainingError
"""

from __future__ import annotations


class ModelError(Exception):
    """Root of every error that `models` raises on purpose; the text is one line a user can act on."""


class UnknownModelError(ModelError):
    """No network bears this name."""


class PolicyError(ModelError):
    """A bit policy that the network cannot take: a missing or unknown layer, bits outside 1..8."""


class DataError(ModelError):
    """A data set that is missing, corrupt or wrongly shaped."""


class UnknownDatasetError(DataError):
    """No data set bears this name."""


class DownloadError(DataError):
    """A data set cannot be downloaded: no connection, other bytes than expected, no room for the file.

    Attributes:
        reason: why, without what to do about it.
    """

    def __init__(self, text: str, reason: str = "") -> None:
        super().__init__(text)
        self.reason = reason


class ImageFileError(DataError):
    """An image file that is missing, corrupt, or of a kind that cannot be used."""


class SplitError(DataError):
    """A data set too small to be split: too few images, images of a class, or groups of a class."""


class WeightsError(ModelError):
    """A weights file that is missing, corrupt, or belongs to another network."""


class DeviceError(ModelError):
    """A device to train on that is unknown or not there."""


class TrainingError(ModelError):
    """Training diverged: the loss or a weight is not a finite number, or the loss exploded.

    Attributes:
        layer: the layer it began in; empty where the network has none.
    """

    def __init__(self, text: str, layer: str = "") -> None:
        super().__init__(text)
        self.layer = layer


class NetworkError(ModelError):
    """A network of a user's own that cannot be loaded, traced or built.

    Attributes:
        module: qualified name of the module it is about; empty where it is about none.
    """

    def __init__(self, text: str, module: str = "") -> None:
        super().__init__(text)
        self.module = module
