"""The policy in a `policy.json`."""

from __future__ import annotations

from pathlib import Path

from flow.errors import PolicyError, SettingsError
from models.files import read_json
from models.policy import BitPolicy


def read_policy(path: Path) -> BitPolicy:
    """The policy of a `policy.json`.

    Raises:
        SettingsError: the file cannot be read or holds no policy.
        PolicyError: it holds a wrong one.
    """
    try:
        policy = read_json(path)["policy"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"POLICY={path} holds no policy ({error}); give the policy.json of a run") from error
    try:
        return BitPolicy.from_dict(policy)
    except PolicyError as error:
        raise PolicyError(f"POLICY={path}: {error}") from error
