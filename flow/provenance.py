"""What made a result: command, code, data, machine."""

from __future__ import annotations

import hashlib
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.data import SearchSplits

ROOT = Path(__file__).parent.parent
_GIT_S = 10.0


def provenance(splits: SearchSplits, arguments: Sequence[str] | None = None) -> dict[str, str]:
    """What `policy.json` says of how it was made, beside the run's identity, its calibration and the packages' versions.

    Args:
        splits: that were retrained on and scored on; test images are not looked at before the end.
        arguments: of the command, its name first; this process' unless given.

    Returns:
        `command` as a shell takes it; `revision` of bitloop's code; `data`, a digest of every image and label in its split;
        `python` and `machine`.
    """
    name, *rest = sys.argv if arguments is None else arguments
    return {
        "command": shlex.join([Path(name).name, *rest]),
        "revision": revision(),
        "data": data_digest(splits),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }


def revision(root: Path = ROOT) -> str:
    """The git revision of bitloop's code, with `-dirty` where files were changed; empty where it is not a checkout."""
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return said.stdout.strip() if said.returncode == 0 else ""


def data_digest(splits: SearchSplits) -> str:
    """16 hex digits of the SHA-256 of all images and labels that a search may see, as networks see them."""
    found = hashlib.sha256()
    for part in (splits.train, splits.search):
        for tensor in (part.x, part.y):
            array = np.ascontiguousarray(tensor.numpy())
            found.update(f"{array.dtype.str}{array.shape}".encode())
            found.update(array.data)
    return found.hexdigest()[:16]
