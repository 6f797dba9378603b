"""The policy in a `policy.json`."""

from __future__ import annotations

import json
from pathlib import Path

from flow.errors import SettingsError
from models.policy import BitPolicy


def read_policy(path: Path) -> BitPolicy:
    """The policy of a `policy.json`.

    Raises:
        SettingsError: the file cannot be read or holds no policy.
        PolicyError: it holds a wrong one.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        policy = raw["policy"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"POLICY={path} holds no policy ({error}); give the policy.json of a run") from error
    return BitPolicy.from_dict(policy)
