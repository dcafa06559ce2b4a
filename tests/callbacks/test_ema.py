"""Tests of the moving average of the weights: its values, its uses and its resumption."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.testing import assert_close

from fashion_mlp.classifier import Classifier
from fashion_mlp.inference import evaluate
from fashion_mlp.inference.load import load_classifier
from fashion_mlp.inference.test_data import build_untrusted_datamodule
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.training import train
from tests.conftest import Compose, Run

# The decay of 0.8 is reached in the 35th of the 40 steps of four epochs, which covers both branches of the formula.
EMA = ("callbacks.ema.decay=0.8", "model.norm=batch")
NO_CHECKPOINTS = ("~callbacks.best_checkpoint", "checkpoint=null")


def ema_state(run: Run) -> dict[str, Any]:
    state: dict[str, Any] = run.checkpoint("last")["callbacks"]["ema"]
    return state


def assert_same_weights(run: Run, other: Run) -> None:
    """Check that the averaged and the trained weights of two runs are equal."""
    assert_close(run.checkpoint("last")["state_dict"], other.checkpoint("last")["state_dict"], rtol=0, atol=0)
    assert_close(ema_state(run)["trained_weights"], ema_state(other)["trained_weights"], rtol=0, atol=0)


def compute_loss(classifier: Classifier, data_root: Path, split: str) -> float:
    data = build_untrusted_datamodule(
        "synthetic", {"root": str(data_root), "train_size": 600, "test_size": 200, "val_size": 100}
    )
    data.setup("fit")
    data.setup("test")
    output = evaluate.collect_outputs(classifier, data.loader(split))
    loss: float = evaluate.compute_metrics(output, classifier.class_names)["loss"]
    return loss


class Stop(Callback):
    """A callback that ends the run in its second epoch."""

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == 15:
            raise UserError("stopped")


@pytest.fixture
def parameters_after_each_step() -> Iterator[list[list[torch.Tensor]]]:
    recorded: list[list[torch.Tensor]] = []

    def record(optimizer: Optimizer, *_: Any) -> None:
        parameters = optimizer.param_groups[0]["params"]
        if len(parameters) > 1:  # not the single weight of the dry run
            recorded.append([parameter.detach().double() for parameter in parameters])

    handle = register_optimizer_step_post_hook(record)
    yield recorded
    handle.remove()


def test_average_follows_the_formula(
    compose_small: Compose, parameters_after_each_step: list[list[torch.Tensor]]
) -> None:
    cfg = compose_small("run", *EMA, "trainer.max_epochs=4")
    train(cfg)
    # The initial weights contribute nothing after 40 steps.
    expected, *rest = parameters_after_each_step
    for step, weights in enumerate(rest, start=2):
        decay = min(0.8, (1 + step) / (10 + step))
        expected = [decay * old + (1 - decay) * new for old, new in zip(expected, weights, strict=True)]
    assert step == 40
    run = Run(cfg.run_dir)
    averaged = load_classifier(run.dir / "checkpoints/last.ckpt")
    trained = ema_state(run)["trained_weights"]
    for (name, weight), value, final in zip(averaged.named_parameters(), expected, rest[-1], strict=True):
        assert torch.allclose(weight.double(), value, atol=1e-5), name
        assert torch.equal(trained[name], final.float()), name
        assert not torch.allclose(weight.double(), final, atol=1e-5), name
    weights = run.checkpoint("last")["state_dict"]
    assert not torch.equal(weights["model.layers.1.running_mean"], trained["model.layers.1.running_mean"])
    assert weights["model.layers.1.num_batches_tracked"] == 40
    assert "model.layers.1.num_batches_tracked" not in trained


def test_average_changes_neither_training_nor_multi_step_results(compose_small: Compose) -> None:
    configs = [
        compose_small("single_step", *EMA, "steps_per_execution=1"),
        compose_small("multi_step", *EMA),
        compose_small("without", *EMA, "callbacks.ema.decay=null"),
    ]
    for cfg in configs:
        train(cfg)
    single_step, multi_step, without = (Run(cfg.run_dir) for cfg in configs)
    assert_same_weights(single_step, multi_step)
    trained = ema_state(multi_step)["trained_weights"]
    weights = without.checkpoint("last")["state_dict"]
    assert_close({name: weights[name] for name in trained}, trained, rtol=0, atol=0)
    metrics, averaged_metrics = (run.checkpoint("last")["fashion_mlp"]["metrics"] for run in (without, multi_step))
    assert metrics["train/loss"] == averaged_metrics["train/loss"]
    assert metrics["val/loss"] != averaged_metrics["val/loss"]


def test_continued_run_is_bit_identical(compose_small: Compose) -> None:
    common = (*EMA, "model.dropout=0.2")
    whole = compose_small("whole", *common, "trainer.max_epochs=4")
    first = compose_small("first", *common)
    second = compose_small(
        "second", *common, "trainer.max_epochs=4", f"ckpt_path={first.run_dir}/checkpoints/last.ckpt"
    )
    for cfg in (whole, first, second):
        train(cfg)
    assert_same_weights(Run(whole.run_dir), Run(second.run_dir))
    assert ema_state(Run(second.run_dir))["num_updates"] == 40

    path = f"{second.run_dir}/checkpoints/last.ckpt"
    without = compose_small("without", *common, "callbacks.ema.decay=null", f"ckpt_path={path}")
    with pytest.raises(UserError, match=r"callbacks.ema.decay=null: .*last.ckpt was trained with 0.8. Use that, or"):
        train(without)


def test_validation_test_and_checkpoint_use_the_average(compose_small: Compose, data_root: Path) -> None:
    evaluation = "+callbacks.extra={_target_:fashion_mlp.callbacks.epoch_evaluation.EpochEvaluation,splits:[val]}"
    cfg = compose_small("run", *EMA, evaluation, "trainer.max_epochs=1", "test=true")
    unsaved = compose_small("unsaved", *EMA, *NO_CHECKPOINTS, "trainer.max_epochs=1", "test=true")
    for each in (cfg, unsaved):
        train(each)
    metrics, unsaved_metrics = (Run(each.run_dir).metrics for each in (cfg, unsaved))
    classifier = load_classifier(Path(cfg.run_dir, "checkpoints/best.ckpt"))
    for split in ("val", "test"):
        assert metrics[f"{split}/loss"] == pytest.approx(compute_loss(classifier, data_root, split), abs=1e-5)
        assert unsaved_metrics[f"{split}/loss"] == metrics[f"{split}/loss"]
    assert metrics["val_after_epoch/loss"] == metrics["val/loss"]


@pytest.mark.parametrize("save_weights_only", ["true", "false"])
def test_checkpoint_of_a_validation_within_an_epoch_contains_the_average(
    compose_small: Compose, data_root: Path, save_weights_only: str
) -> None:
    """Lightning saves it after the average was swapped out, and saves weights alone by another function."""
    common = (*EMA, "trainer.val_check_interval=0.5", "model.dropout=0.2", "trainer.max_epochs=1")
    cfg = compose_small("run", *common, f"+callbacks.best_checkpoint.save_weights_only={save_weights_only}")
    train(cfg)
    classifier = load_classifier(Path(cfg.run_dir, "checkpoints/best.ckpt"))
    expected = pytest.approx(compute_loss(classifier, data_root, "val"), abs=1e-5)
    assert classifier.metadata["metrics"]["val/loss"] == expected


def test_run_continued_from_within_an_epoch_is_bit_identical(compose_small: Compose) -> None:
    common = (*EMA, "checkpoint.every_n_steps=3", "steps_per_execution=1")
    whole = compose_small("whole", *common)
    stopped = compose_small("stopped", *common, "+callbacks.stop={_target_:tests.callbacks.test_ema.Stop}")
    with pytest.raises(UserError):
        train(stopped)
    assert Run(stopped.run_dir).checkpoint("last")["global_step"] == 13
    continued = compose_small("continued", *common, f"ckpt_path={stopped.run_dir}/checkpoints/last.ckpt")
    for cfg in (whole, continued):
        train(cfg)
    assert_same_weights(Run(whole.run_dir), Run(continued.run_dir))
