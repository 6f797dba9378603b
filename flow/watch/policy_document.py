"""`policy.json` as it is read for people to look at: `PolicyDocument`, with every type checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flow.errors import RunDirectoryError

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Wanted(_Part):
    """The constraint."""

    min_fps: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    max_utilisation: Annotated[float, Field(gt=0, le=1)]


class Accuracies(_Part):
    """On the search split of the float network and of the trial; after the final retraining, on both splits."""

    float_search: Share | None = None
    trial_search: Share
    final_search: Share | None = None
    final_test: Share | None = None


class LayerFacts(_Part):
    """What a layer is, whatever its bits."""

    name: str
    parameters: Annotated[int, Field(ge=1)]
    macs: Count


class Used(_Part):
    """Resources."""

    lut: NotNegative
    ff: NotNegative = 0.0
    bram18: NotNegative
    dsp: NotNegative


class Uniform(_Part):
    """A uniform policy that the best one is compared with."""

    bits: Annotated[int, Field(ge=1, le=8)]
    accuracy: Share
    meets_constraint: bool
    fps: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    latency_ms: NotNegative
    resources: Used


class Sought(_Part):
    """What the search was after."""

    goal: str
    min_accuracy: Share | None = None


class Finalist(_Part):
    """A trial whose policy was retrained with other seeds: seed to accuracy on the search split."""

    trial: int
    trial_search: float
    again: dict[str, Share]
    mean: float


class Retraining(_Part):
    """How long `make retrain` was allowed to go on."""

    max_epochs: Count
    patience_epochs: Count


class PolicyDocument(_Part):
    """What is looked at; `flow.report.policy_document` writes it.

    Attributes:
        layers, uniform, objective, finalists: none in runs of a bitloop that did not write them down; uniform policies and
            finalists not before a search has ended, either.
        policy, estimate, run: as they are written; who makes something of them checks them.
    """

    model: str
    dataset: str
    board: str
    seed: int
    constraint: Wanted
    accuracy: Accuracies
    layers: tuple[LayerFacts, ...] = Field(default=(), strict=False)
    uniform: tuple[Uniform, ...] = Field(default=(), strict=False)
    policy: dict[str, Any]
    implementations: dict[str, str]
    estimate: dict[str, Any]
    objective: Sought | None = None
    finalists: tuple[Finalist, ...] = Field(default=(), strict=False)
    trial: int  # below 0: of another run of a shared study
    n_trials: Count
    final_images: Count
    retraining: Retraining | None = None
    run: dict[str, Any]
    versions: dict[str, str]


def read_document(file: Path) -> PolicyDocument:
    """Read a `policy.json`.

    Raises:
        RunDirectoryError: it is not there, or not as bitloop writes it.
    """
    try:
        return PolicyDocument.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise RunDirectoryError(f"{file} is not there: the run holds no trial yet; make search writes one") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise RunDirectoryError(
            f"{file} is not as bitloop writes it ({where}: {first['msg']}); search again with this bitloop"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise RunDirectoryError(f"{file} cannot be read ({error}); let make search write it again") from error
