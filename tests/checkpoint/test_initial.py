"""Tests of the checkpoint from which training starts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer

from fashion_mlp.build.parts import build_classifier, build_datamodule
from fashion_mlp.checkpoint.initial import load_initial_checkpoint, load_resume_checkpoint
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.training import train
from tests.conftest import Compose, Run

INCOMPLETE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "callbacks": lambda checkpoint: checkpoint.pop("callbacks"),
    "global_step": lambda checkpoint: checkpoint.pop("global_step"),
    "loops": lambda checkpoint: checkpoint.pop("loops"),
    "lr_schedulers": lambda checkpoint: checkpoint.pop("lr_schedulers"),
    "optimizer_states": lambda checkpoint: checkpoint.pop("optimizer_states"),
}


@pytest.fixture
def run(compose_small: Compose) -> Run:
    """Return a run without a test."""
    cfg = compose_small("run")
    train(cfg)
    return Run(cfg.run_dir)


def test_incomplete_last_checkpoint_is_not_resumed(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    last, checkpoints = run.checkpoint_path("last"), run.dir / "checkpoints"
    complete = last.read_bytes()
    for name, remove in INCOMPLETE.items():
        caplog.clear()
        last.write_bytes(complete)
        assert load_resume_checkpoint(checkpoints).path.name == "last.ckpt"  # type: ignore[union-attr]
        content = run.checkpoint("last")
        remove(content)
        torch.save(content, last)
        assert load_resume_checkpoint(checkpoints).path.name == "previous.ckpt"  # type: ignore[union-attr]
        assert f"last.ckpt: incomplete ({name!r} is missing)" in caplog.text
    last.replace(run.checkpoint_path("previous"))
    with pytest.raises(UserError, match=r"previous.ckpt: incomplete .*\n.*no checkpoint to resume from"):
        load_resume_checkpoint(checkpoints)


def test_the_last_layer_can_be_left_out(run: Run, compose_small: Compose) -> None:
    path = run.checkpoint_path("last")
    initial = load_initial_checkpoint(str(path), restore="weights_except_last")
    cfg = compose_small("new")
    datamodule = build_datamodule(cfg)
    datamodule.class_names = ("boot", "shirt", "bag")
    classifier, trainer = build_classifier(cfg, datamodule), Trainer(accelerator="cpu", logger=False)
    with pytest.raises(UserError, match=r"layers.2.weight.* leave out the last layer with ckpt_restore=weights_exc"):
        load_initial_checkpoint(str(path), restore="weights").restore_weights(classifier, trainer)
    last = classifier.model.state_dict()["layers.2.weight"].clone()
    initial.restore_weights(classifier, trainer)
    weights, saved = classifier.state_dict(), run.checkpoint("last")["state_dict"]
    assert torch.equal(weights["model.layers.0.weight"], saved["model.layers.0.weight"])
    assert torch.equal(weights["model.layers.2.weight"], last)


def test_checkpoint_without_training_state_gives_only_weights(run: Run, compose_small: Compose, tmp_path: Path) -> None:
    content = run.checkpoint("best")
    # As Lightning saves it with save_weights_only=True.
    weights = {name: content[name] for name in ("epoch", "global_step", "state_dict", "fashion_mlp")}
    torch.save(weights, tmp_path / "weights.ckpt")
    with pytest.raises(
        UserError, match=r"weights.ckpt: incomplete \('callbacks' is missing\). .* ckpt_restore=weights"
    ):
        load_initial_checkpoint(str(tmp_path / "weights.ckpt"), restore="all")
    cfg = compose_small("new", f"ckpt_path={tmp_path}/weights.ckpt", "ckpt_restore=weights")
    assert train(cfg) > 0
