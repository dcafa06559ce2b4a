"""The averaged weights: what they are, who sees them, and that training neither notices nor forgets them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer
from omegaconf import DictConfig
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from fashion_mlp.callbacks import ema
from fashion_mlp.checkpoint.load import load_classifier
from fashion_mlp.classifier import Classifier
from fashion_mlp.data import build_datamodule
from fashion_mlp.inference import evaluate
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.training import train
from tests.conftest import Compose

Weights = dict[str, torch.Tensor]

AVERAGED = ("callbacks.ema.decay=0.8", "model.norm=batch", "logger=none")
"""The decay is reached in the 35th of the 40 steps of four epochs: these take both branches of the formula."""
UNSAVED = ("~callbacks.best_checkpoint", "~callbacks.last_checkpoint", "trainer.enable_checkpointing=false")


def last(cfg: DictConfig) -> dict[str, Any]:
    checkpoint: dict[str, Any] = torch.load(Path(cfg.run_dir, "checkpoints/last.ckpt"), weights_only=True)
    return checkpoint


def callback_state(cfg: DictConfig) -> dict[str, Any]:
    state: dict[str, Any] = last(cfg)["callbacks"]["ema"]
    return state


def assert_same(first: Weights, second: Weights) -> None:
    assert first.keys() == second.keys()
    for name, weight in first.items():
        assert torch.equal(weight, second[name]), name


def measured_loss(classifier: Classifier, data_root: Path, part: str) -> float:
    data = build_datamodule("synthetic", {"root": str(data_root), "train_size": 600, "test_size": 200, "val_size": 100})
    data.setup("fit")
    data.setup("test")
    loss: float = evaluate.compute_metrics(
        evaluate.collect_outputs(classifier, data.loader(part)), classifier.class_names
    )["loss"]
    return loss


class Stop(Callback):
    """Ends the run in its second epoch."""

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == 15:
            raise UserError("enough")


@pytest.fixture
def parameters_after_each_step() -> Iterator[list[list[torch.Tensor]]]:
    seen: list[list[torch.Tensor]] = []

    def note(optimizer: Optimizer, *_: Any) -> None:
        parameters = optimizer.param_groups[0]["params"]
        if len(parameters) > 1:  # not the single weight of the dry run
            seen.append([parameter.detach().double() for parameter in parameters])

    handle = register_optimizer_step_post_hook(note)
    yield seen
    handle.remove()


def test_it_follows_the_formula(compose_small: Compose, parameters_after_each_step: list[list[torch.Tensor]]) -> None:
    cfg = compose_small("run", *AVERAGED, "trainer.max_epochs=4", "test=false")
    train(cfg)
    first, *rest = parameters_after_each_step  # of the weights before these, nothing is left after 40 steps
    expected = first
    for number, weights in enumerate(rest, start=2):
        decay = min(0.8, (1 + number) / (10 + number))
        expected = [decay * old + (1 - decay) * new for old, new in zip(expected, weights, strict=True)]
    assert number == 40
    averaged = load_classifier(Path(cfg.run_dir, "checkpoints/last.ckpt"))
    trained = callback_state(cfg)["trained_weights"]
    for (name, weight), value, final in zip(averaged.named_parameters(), expected, rest[-1], strict=True):
        assert torch.allclose(weight.double(), value, atol=1e-5), name
        assert torch.equal(trained[name], final.float()), name
        assert not torch.allclose(weight.double(), final, atol=1e-5), name
    weights = last(cfg)["state_dict"]
    assert not torch.equal(weights["model.layers.1.running_mean"], trained["model.layers.1.running_mean"])
    assert weights["model.layers.1.num_batches_tracked"] == 40
    assert "model.layers.1.num_batches_tracked" not in trained


def test_training_does_not_notice_and_steps_a_call_make_no_difference(compose_small: Compose) -> None:
    runs = [
        compose_small("one", *AVERAGED, "steps_per_execution=1"),
        compose_small("several", *AVERAGED),
        compose_small("without", *AVERAGED, "callbacks.ema.decay=null"),
    ]
    for cfg in runs:
        train(cfg)
    one, several, without = map(last, runs)
    assert_same(one["state_dict"], several["state_dict"])
    trained = callback_state(runs[1])["trained_weights"]
    assert_same(callback_state(runs[0])["trained_weights"], trained)
    assert_same({name: without["state_dict"][name] for name in trained}, trained)
    assert without["fashion_mlp"]["metrics"]["train/loss"] == several["fashion_mlp"]["metrics"]["train/loss"]
    assert without["fashion_mlp"]["metrics"]["val/loss"] != several["fashion_mlp"]["metrics"]["val/loss"]


def test_a_run_goes_on_to_the_bit(compose_small: Compose) -> None:
    common = (*AVERAGED, "model.dropout=0.2", "test=false")
    whole = compose_small("whole", *common, "trainer.max_epochs=4")
    first = compose_small("first", *common)
    second = compose_small(
        "second", *common, "trainer.max_epochs=4", f"ckpt_path={first.run_dir}/checkpoints/last.ckpt"
    )
    for cfg in (whole, first, second):
        train(cfg)
    assert_same(last(whole)["state_dict"], last(second)["state_dict"])
    assert_same(callback_state(whole)["trained_weights"], callback_state(second)["trained_weights"])
    assert callback_state(second)["num_updates"] == 40

    path = f"{second.run_dir}/checkpoints/last.ckpt"
    without = compose_small("without", *common, "callbacks.ema.decay=null", f"ckpt_path={path}")
    with pytest.raises(UserError, match=r"callbacks.ema.decay=null: .*last.ckpt was trained with 0.8. Use that, or"):
        train(without)


def test_validation_test_and_a_checkpoint_are_of_the_average(compose_small: Compose, data_root: Path) -> None:
    parts = "+callbacks.extra={_target_:fashion_mlp.callbacks.EpochEvaluation,splits:[val]}"
    cfg = compose_small("run", *AVERAGED, parts, "trainer.max_epochs=1")
    unsaved = compose_small("unsaved", *AVERAGED, *UNSAVED, "trainer.max_epochs=1")
    for each in (cfg, unsaved):
        train(each)
    metrics, of_unsaved = (json.loads(Path(each.run_dir, "metrics.json").read_text()) for each in (cfg, unsaved))
    classifier = load_classifier(Path(cfg.run_dir, "checkpoints/best.ckpt"))
    for part in ("val", "test"):
        assert metrics[f"{part}/loss"] == pytest.approx(measured_loss(classifier, data_root, part), abs=1e-5)
        assert of_unsaved[f"{part}/loss"] == metrics[f"{part}/loss"]
    assert metrics["val_after_epoch/loss"] == metrics["val/loss"]


@pytest.mark.parametrize("part", ["save_weights_only=true", "save_weights_only=false"])
def test_so_is_a_checkpoint_of_a_validation_in_the_middle(compose_small: Compose, data_root: Path, part: str) -> None:
    """Lightning writes it while the network has its own weights again, and by another way if it is of weights only."""
    common = (*AVERAGED, "trainer.val_check_interval=0.5", "test=false", "model.dropout=0.2")
    cfg = compose_small("run", *common, "trainer.max_epochs=1", f"+callbacks.best_checkpoint.{part}")
    train(cfg)
    classifier = load_classifier(Path(cfg.run_dir, "checkpoints/best.ckpt"))
    expected = pytest.approx(measured_loss(classifier, data_root, "val"), abs=1e-5)
    assert classifier.metadata["metrics"]["val/loss"] == expected


def test_a_run_goes_on_from_the_middle_of_an_epoch(compose_small: Compose) -> None:
    common = (*AVERAGED, "test=false", "checkpoint.every_n_steps=3", "steps_per_execution=1")
    whole = compose_small("whole", *common)
    middle = compose_small("middle", *common, "+callbacks.stop={_target_:tests.callbacks.test_ema.Stop}")
    with pytest.raises(UserError):
        train(middle)
    assert last(middle)["global_step"] == 13
    second = compose_small("second", *common, f"ckpt_path={middle.run_dir}/checkpoints/last.ckpt")
    for cfg in (whole, second):
        train(cfg)
    assert_same(last(whole)["state_dict"], last(second)["state_dict"])
    assert_same(callback_state(whole)["trained_weights"], callback_state(second)["trained_weights"])


def test_it_is_off_without_a_decay() -> None:
    assert ema(None) is None
