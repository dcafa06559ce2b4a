"""Tests of `training.train`, from a configuration to the results of the run."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch.testing import assert_close

from fashion_mlp.build.parts import build_classifier, build_datamodule
from fashion_mlp.classifier import Classifier
from fashion_mlp.data import SyntheticDataModule
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.training import train
from tests.conftest import CONF, LOGGED_AND_TESTED, SMALL, Compose, Run


def test_run_learns_and_writes_metrics_checkpoints_and_events(
    compose_small: Compose, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = compose_small("run", "trainer.max_epochs=3", *LOGGED_AND_TESTED)
    objective = train(cfg)
    run = Run(cfg.run_dir)
    metrics = run.metrics
    assert metrics["test/acc"] > 0.4  # chance is 0.1
    assert objective == pytest.approx(metrics["val/acc"], abs=1e-6)
    assert metrics["data"] == "synthetic garments"
    assert (metrics["seed"], metrics["epochs"], metrics["parameters"]) == (42, 3, 784 * 32 + 32 + 32 * 10 + 10)
    assert {"test/loss", "test/f1_macro", "test/acc/Ankle boot", "val/loss", "train/loss", "train/acc"} <= set(metrics)
    assert {"seconds", "samples_per_second", "device", "version/torch", "version/fashion-mlp"} <= set(metrics)
    assert {path.name for path in (run.dir / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt", "previous.ckpt"}
    assert metrics["checkpoint"] == "checkpoints/best.ckpt"

    for tag in ("train/loss", "train/acc", "val/loss", "val/acc"):
        assert [step for step, _ in run.scalars(tag)] == [10, 20, 30]
    assert len(run.scalars("test/acc")) == 1
    assert capsys.readouterr().err == ""


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory, data_root: Path) -> Run:
    """Return a run of two epochs, which no test may change."""
    run_dir = tmp_path_factory.mktemp("finished") / "run"
    overrides = [*SMALL, f"data.root={data_root}", f"run_dir={run_dir}"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        train(compose("train", overrides=overrides))
    return Run(run_dir)


def test_loss_and_learning_rate_are_logged_every_n_steps(compose_small: Compose) -> None:
    cfg = compose_small("run", "trainer.log_every_n_steps=4", "scheduler=cosine", "logger=tensorboard")
    train(cfg)
    run = Run(cfg.run_dir)
    assert [step for step, _ in run.scalars("train/loss_step")] == [4, 8, 12, 16, 20]
    rates = [rate for _, rate in run.scalars("train/lr")]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 2 * rates[-1]


def test_reported_metrics_are_those_of_the_best_checkpoint(compose_small: Compose) -> None:
    cfg = compose_small("run", "trainer.max_epochs=4", "optimizer.lr=0.03", "logger=tensorboard")
    train(cfg)
    run = Run(cfg.run_dir)
    accuracies = [accuracy for _, accuracy in run.scalars("val/acc")]
    metrics = run.metrics
    assert metrics["val/acc"] == pytest.approx(max(accuracies), abs=1e-6)
    assert metrics["epoch"] == accuracies.index(max(accuracies)) + 1


def test_weights_depend_on_the_seed_alone(compose_small: Compose) -> None:
    configs = [
        compose_small(name, f"seed={seed}", "model.dropout=0.2", "trainer.max_epochs=1")
        for name, seed in (("first", 0), ("repeated", 0), ("other", 1))
    ]
    for cfg in configs:
        train(cfg)
    first, repeated, other = (Run(cfg.run_dir).checkpoint("last")["state_dict"] for cfg in configs)
    assert_close(first, repeated, rtol=0, atol=0)
    assert not torch.equal(first["model.layers.0.weight"], other["model.layers.0.weight"])


def test_last_checkpoint_is_tested_without_validation(compose_small: Compose) -> None:
    cfg = compose_small("run", "data.val_size=0", "test=true")
    objective = train(cfg)
    run = Run(cfg.run_dir)
    metrics = run.metrics
    assert not [name for name in metrics if name.startswith("val/")]
    assert metrics["checkpoint"] == "checkpoints/last.ckpt"
    assert objective == pytest.approx(metrics["train/loss"], abs=1e-6)
    assert {path.name for path in (run.dir / "checkpoints").iterdir()} == {"last.ckpt", "previous.ckpt"}


def test_test_images_are_read_once_after_training(compose_small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = compose_small("run", "trainer.max_epochs=1", "test=true")
    reads: list[tuple[str, bool]] = []
    read_split = SyntheticDataModule.read_split

    def record_read(self: SyntheticDataModule, split: str) -> Any:
        is_trained = Path(cfg.run_dir, "checkpoints/last.ckpt").exists()
        reads.append((split, is_trained))
        return read_split(self, split)

    monkeypatch.setattr(SyntheticDataModule, "read_split", record_read)
    train(cfg)
    assert reads == [("train", False), ("test", True)]


def assert_finite_checkpoints(run: Run, error: UserError, *, last_epoch: int) -> None:
    """Check that a failed run named its last checkpoint and saved finite weights, the last ones after `last_epoch`."""
    assert str(run.dir / "checkpoints/last.ckpt") in str(error)
    assert run.checkpoint("last")["epoch"] == last_epoch
    for name in ("best", "last"):
        assert all(weight.isfinite().all() for weight in run.checkpoint(name)["state_dict"].values())


@pytest.mark.parametrize("steps", [1, 4, 16])
def test_nan_loss_ends_the_run_and_keeps_the_last_finite_checkpoint(
    compose_small: Compose, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    cfg = compose_small("run", "trainer.max_epochs=4", f"steps_per_execution={steps}")
    compute_training_loss = Classifier.compute_training_loss

    def return_nan(self: Classifier, batch: Any, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        loss, logits = compute_training_loss(self, batch, step)
        return (loss * float("nan") if step == 24 else loss), logits

    monkeypatch.setattr(Classifier, "compute_training_loss", return_nan)
    with pytest.raises(UserError, match=r"the loss is nan in epoch 3, step 24 \(learning rate: 0.001\)") as caught:
        train(cfg)
    run = Run(cfg.run_dir)
    assert_finite_checkpoints(run, caught.value, last_epoch=1)
    assert not (run.dir / "metrics.json").exists()


@pytest.mark.parametrize("overrides", [[], ["steps_per_execution=1"]], ids=["multi-step", "single-step"])
def test_infinite_gradient_in_the_last_step_of_an_epoch_keeps_the_last_finite_checkpoint(
    compose_small: Compose, monkeypatch: pytest.MonkeyPatch, overrides: list[str]
) -> None:
    cfg = compose_small("run", "trainer.max_epochs=4", *overrides)
    compute_training_loss = Classifier.compute_training_loss

    def explode_gradient(self: Classifier, batch: Any, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        loss, logits = compute_training_loss(self, batch, step)
        if step == 20:  # the last step of the second epoch; the loss itself stays finite
            loss.register_hook(lambda gradient: gradient * float("inf"))  # type: ignore[no-untyped-call]
        return loss, logits

    monkeypatch.setattr(Classifier, "compute_training_loss", explode_gradient)
    with pytest.raises(
        UserError, match=r"exploded, and model.layers.0.weight is NaN or infinite in epoch 2, step 20 .* 0.001\)"
    ) as caught:
        train(cfg)
    assert_finite_checkpoints(Run(cfg.run_dir), caught.value, last_epoch=0)


def test_nan_loss_before_the_first_checkpoint_is_explained_by_the_learning_rate(compose_small: Compose) -> None:
    cfg = compose_small("run", "optimizer=sgd", "optimizer.lr=1e30")
    with pytest.raises(
        UserError,
        match=r"the loss is nan in epoch 1, step 2 \(learning rate: 1e\+30\). "
        r"Lower optimizer.lr or set trainer.gradient_clip_val. No checkpoint was saved yet",
    ):
        train(cfg)


def test_nan_loss_in_the_first_step_is_not_explained_by_the_learning_rate(compose_small: Compose) -> None:
    cfg = compose_small("run", "model.std=1e-46")
    with pytest.raises(UserError, match=r"is nan in epoch 1, step 1 .* Check the model and the data"):
        train(cfg)


def test_nan_weights_are_not_saved(compose_small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = compose_small("run", "trainer.val_check_interval=5", "trainer.max_epochs=1")
    on_validation_epoch_end = Classifier.on_validation_epoch_end

    def set_nan_weights(self: Classifier) -> None:
        on_validation_epoch_end(self)
        if self.global_step == 10:
            next(self.parameters()).data.fill_(float("nan"))

    monkeypatch.setattr(Classifier, "on_validation_epoch_end", set_nan_weights)
    with pytest.raises(UserError, match=r"layers.0.weight is NaN .* step 10 .* Earlier checkpoints: .*/best.ckpt"):
        train(cfg)
    assert Run(cfg.run_dir).checkpoint("best")["global_step"] == 5


def test_out_of_memory_while_building_names_keys_that_reduce_memory(compose_small: Compose) -> None:
    cfg = compose_small("run", f"model.hidden_sizes=[10,{10**15}]")
    with pytest.raises(
        UserError,
        match=r"out of memory on the CPU: lower data.batch_size, .* model.hidden_sizes, or set trainer.precision",
    ):
        train(cfg)
    assert not Path(cfg.run_dir).exists()


@pytest.mark.parametrize("step", ["training_step", "test_step"])
def test_out_of_memory_on_a_device_names_keys_that_reduce_memory(
    compose_small: Compose, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def raise_oom(*arguments: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of")

    monkeypatch.setattr(Classifier, step, raise_oom)
    cfg = compose_small("run", "steps_per_execution=1", "trainer.max_epochs=1", "test=true")
    with pytest.raises(UserError, match=r"^out of memory on CUDA: lower data"):
        train(cfg)


def test_training_continues_from_a_checkpoint(compose_small: Compose, finished_run: Run) -> None:
    second = compose_small("second", "trainer.max_epochs=3", f"ckpt_path={finished_run.checkpoint_path('last')}")
    train(second)
    checkpoint = Run(second.run_dir).checkpoint("last")
    assert (checkpoint["epoch"], checkpoint["global_step"]) == (2, 30)


def test_checkpoint_that_has_reached_max_epochs_is_refused(compose_small: Compose, finished_run: Run) -> None:
    second = compose_small("second", f"ckpt_path={finished_run.checkpoint_path('last')}")
    with pytest.raises(UserError, match=r"trained for 2 epochs already. Set trainer.max_epochs above that"):
        train(second)


def test_directory_of_another_run_is_refused(compose_small: Compose, finished_run: Run) -> None:
    cfg = compose_small("run", f"run_dir={finished_run.dir}")
    metrics = finished_run.metrics
    with pytest.raises(UserError, match="holds a run already"):
        train(cfg)
    assert finished_run.metrics == metrics


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.devices=0"], "trainer: .*devices=0"),
        (["trainer.strategy=dpp"], "trainer: You selected an invalid strategy"),
        (["data.root=/dev/null/x"], "data.root: .* cannot be written"),
        (["ckpt_path=pyproject.toml"], "pyproject.toml: refused"),
        (["+model.extra=1"], "model: .*extra"),
    ],
)
def test_failure_before_training_leaves_no_run_directory(
    compose_small: Compose, overrides: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[1])
    cfg = compose_small("run", *overrides)
    with pytest.raises(UserError, match=message):
        train(cfg)
    assert not Path(cfg.run_dir).exists()


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=linear", "optimizer=sgd", "optimizer.momentum=0.9", "optimizer.nesterov=true"],
        ["optimizer=adamw", "scheduler=onecycle", "model.norm=batch", "label_smoothing=0.1"],
        ["optimizer=rmsprop", "scheduler=plateau", "model.norm=layer", "model.dropout=0.5"],
        ["scheduler=step", "scheduler.step_size=1", "trainer.accumulate_grad_batches=2"],
        ["trainer.gradient_clip_val=0.1", "logger=csv", "data.num_workers=1", "trainer.precision=bf16-true"],
        ["class_weights=balanced", "data.balanced_sampling=true", "data.folds=4", "data.fold=3"],
        ["trainer=debug"],
        ["trainer.fast_dev_run=true"],
        ["~callbacks.best_checkpoint", "checkpoint=null"],
    ],
    ids=" ".join,
)
def test_options_can_be_combined(compose_small: Compose, overrides: list[str]) -> None:
    cfg = compose_small("run", "trainer.max_epochs=1", *LOGGED_AND_TESTED, *overrides)
    train(cfg)
    assert 0 <= Run(cfg.run_dir).metrics["test/acc"] <= 1


def test_compiled_model_is_saved_as_a_plain_checkpoint(compose_small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[torch.nn.Module] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(self))
    cfg = compose_small("run", "model.compile=true", "trainer.max_epochs=1", "test=true")
    train(cfg)
    assert len(compiled) == 1
    assert "compile" not in Run(cfg.run_dir).checkpoint("last")["fashion_mlp"]["model"]


def test_balanced_class_weights_are_inverse_frequencies_and_not_saved(compose_small: Compose) -> None:
    cfg = compose_small("run", "class_weights=balanced")
    datamodule = build_datamodule(cfg)
    datamodule.prepare_data()
    datamodule.setup("fit")
    datamodule.splits["train"].labels = torch.zeros(600, dtype=torch.int64)
    datamodule.splits["train"].labels[:3] = torch.arange(1, 4)
    counts = torch.bincount(datamodule.splits["train"].labels[datamodule.splits["train"].indices], minlength=10)
    classifier = build_classifier(cfg, datamodule)
    weights = classifier.train_loss.weight
    assert weights is not None
    assert torch.equal(weights, 500 / (10 * counts.clamp(min=1)))
    assert not any("loss" in name for name in classifier.state_dict())
    assert classifier.eval_loss.weight is None


def test_objective_chooses_the_best_checkpoint_and_stops_early(
    compose_small: Compose, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    objective = "val/calibration_error"
    cfg = compose_small(
        "run",
        "metrics=[top2_accuracy,calibration_error]",
        f"objective={objective}",
        "callbacks.early_stopping.patience=2",
        "trainer.max_epochs=30",
        *LOGGED_AND_TESTED,
    )
    value = train(cfg)
    run = Run(cfg.run_dir)
    errors = [error for _, error in run.scalars(objective)]
    assert run.metrics["objective"] == objective
    assert (run.metrics["epoch"], run.metrics["epochs"]) == (errors.index(min(errors)) + 1, len(errors))
    assert run.metrics["epochs"] == run.metrics["epoch"] + 2 < 30
    assert value == pytest.approx(run.metrics[objective], abs=1e-6)
    names = ("loss", "acc", "acc_macro", "f1_macro", "top2_accuracy", "calibration_error")
    assert {f"{stage}/{name}" for stage in ("train", "val", "test") for name in names} <= run.metrics.keys()
    (table,) = (message for message in caplog.messages if "\nvalidation " in message)
    assert table.split()[:4] == ["loss", "accuracy", "calibration_error", "top2_accuracy"]
    assert "\nstopped     Monitored metric val/calibration_error did not improve in the last 2 records." in table
