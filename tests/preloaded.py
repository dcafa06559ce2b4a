"""What most runs import and compose; the server of `tests.forked` loads it once for all processes that it forks."""

import os

import pytest
from hydra import compose
from lightning.pytorch.strategies.launchers import subprocess_script  # noqa: F401

from fashion_mlp import training  # noqa: F401
from fashion_mlp.callbacks import best_checkpoint, learning_curves, progress_bar, terminate_on_nan  # noqa: F401
from fashion_mlp.config import check_command_line, resume  # noqa: F401
from fashion_mlp.config.command_line import initialize_hydra
from fashion_mlp.sweep import job  # noqa: F401
from tests import composition_cache

composition_cache.install(pytest.MonkeyPatch())
with initialize_hydra():
    compose("train", ["data=synthetic", "trainer=cpu", "callbacks=lean", "logger=none"], return_hydra_config=True)
# A kill, unlike a power cut, loses nothing that was written.
os.fsync = os.fstat  # type: ignore[assignment]
