"""Settings: every name and range is looked at before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from flow import config
from flow.config import MAX_SEED, SearchSettings, board_password, default_data_dir, default_threads, environment
from flow.constraint import ANY_FPS
from flow.errors import SettingsError, UnknownBoardError, UnknownDatasetError, UnknownModelError
from models.registry import get_model


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"model": "tfc", "dataset": "digits"},
        {"seed": MAX_SEED, "n_trials": 1, "threads": 1, "searcher": "random"},
        {"objective": "fps", "min_accuracy": 0.9, "retrain_images": 0},
    ],
)
def test_good_settings_pass(settings: dict[str, object]) -> None:
    SearchSettings.model_validate(settings).check()


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"model": "cvn"}, UnknownModelError, "unknown model 'cvn'; did you mean 'cnv'? There are cnv, tfc"),
        ({"dataset": "cifar"}, UnknownDatasetError, "unknown data set 'cifar'; did you mean 'cifar10'?"),
        ({"board": "pynqz2"}, UnknownBoardError, "unknown board 'pynqz2'; did you mean 'pynq-z2'?"),
        (
            {"searcher": "rnadom"},
            SettingsError,
            "unknown searcher 'rnadom'; did you mean 'random'? There are model-based, ",
        ),
        ({"n_trials": 0}, SettingsError, "TRIALS is 0; a whole number of 1 or more is wanted"),
        ({"retrain_images": -1}, SettingsError, "RETRAIN_IMAGES is -1; a whole number of 0 or more is wanted"),
        ({"finalists": 0}, SettingsError, "FINALISTS is 0; a whole number of 1 or more is wanted"),
        ({"retrain_images": 0, "finalists": 1}, SettingsError, "RETRAIN_IMAGES=0 scores trials by a proxy, and FINALISTS=1"),
        ({"halving": True, "retrain_images": 0}, SettingsError, "HALVING=1 stops retraining early, and RETRAIN_IMAGES=0"),
        (
            {"objective": "fsp"},
            SettingsError,
            "unknown objective 'fsp'; did you mean 'fps'? There are accuracy, fps, latency, utilisation",
        ),
        ({"objective": "fps"}, SettingsError, "OBJECTIVE=fps wants a MIN_ACCURACY, as 0.9 for 90 %"),
        (
            {"objective": "latency", "min_accuracy": 90},
            SettingsError,
            "MIN_ACCURACY is 90; a share above 0 and below 1 is wanted, as 0.9 for 90 %",
        ),
        ({"min_accuracy": 0.9}, SettingsError, "MIN_ACCURACY=0.9 is for OBJECTIVE=fps, latency or utilisation"),
        ({"final_images": 0}, SettingsError, "FINAL_IMAGES is 0; a whole number of 1 or more is wanted"),
        ({"threads": 0}, SettingsError, "THREADS is 0; a whole number of 1 or more is wanted"),
        ({"seed": -1}, SettingsError, "SEED is -1; a whole number from 0 to 2147483647 is wanted"),
        ({"seed": MAX_SEED + 1}, SettingsError, "SEED is 2147483648; a whole number from 0 to 2147483647 is wanted"),
    ],
)
def test_wrong_names_and_ranges_are_refused(settings: dict[str, object], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        SearchSettings.model_validate(settings).check()
    assert str(caught.value).startswith(text)


def test_where_speed_is_sought_any_frame_rate_will_do_unless_told() -> None:
    own = get_model("tfc").min_fps
    for objective, min_fps in (("fps", ANY_FPS), ("latency", ANY_FPS), ("utilisation", own)):
        settings = SearchSettings(model="tfc", objective=objective, min_accuracy=0.9)
        assert settings.constraint.min_fps == min_fps
        assert settings.model_copy(update={"min_fps": 5.0}).constraint.min_fps == 5
    assert SearchSettings(model="tfc").constraint.min_fps == own


def test_the_run_directory_is_named_after_model_and_board() -> None:
    assert SearchSettings(model="tfc").directory == Path("runs/tfc-pynq-z2")
    assert SearchSettings(board="my/board.toml").directory == Path("runs/cnv-board")
    assert SearchSettings(run_dir=Path("here")).directory == Path("here")


def test_data_is_looked_for_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", "/some/where")
    assert default_data_dir() == Path("/some/where")
    for unset in (lambda: monkeypatch.setenv("DATA_DIR", ""), lambda: monkeypatch.delenv("DATA_DIR")):
        unset()
        assert default_data_dir() == Path("data")


def test_threads_are_the_processors_at_hand_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config.os, "sched_getaffinity", lambda _: set(range(3)))
    assert default_threads() == SearchSettings().n_threads == 3
    assert SearchSettings(threads=2).n_threads == 2
    monkeypatch.setattr(config.os, "sched_getaffinity", lambda _: set(range(64)))
    assert default_threads() == config.MAX_THREADS


def test_settings_are_not_changed_once_made() -> None:
    with pytest.raises(ValueError, match="frozen"):
        SearchSettings().seed = 1  # type: ignore[misc]


def test_what_is_started_is_not_told_the_password_for_a_board(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BITLOOP_BOARD_PASSWORD", "secret")
    monkeypatch.setenv("XILINX_VIVADO", "/tools")
    assert board_password() == "secret"
    assert environment()["XILINX_VIVADO"] == "/tools"
    assert "secret" not in environment().values()
