"""A run from its configuration to its results."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fashion_mlp.classifier import Classifier
from fashion_mlp.data import SyntheticDataModule
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.training import train
from tests.conftest import Compose


def read_metrics(run_dir: Path | str) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads(Path(run_dir, "metrics.json").read_text())
    return metrics


def weights_of(run_dir: Path | str, name: str = "last") -> dict[str, torch.Tensor]:
    checkpoint = torch.load(Path(run_dir, "checkpoints", f"{name}.ckpt"), weights_only=True)
    weights: dict[str, torch.Tensor] = checkpoint["state_dict"]
    return weights


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_learns_and_records_itself(compose_small: Compose, capsys: pytest.CaptureFixture[str]) -> None:
    cfg = compose_small("run", "trainer.max_epochs=3", "logger=tensorboard")
    objective = train(cfg)
    run_dir = Path(cfg.run_dir)
    metrics = read_metrics(run_dir)
    assert metrics["test/acc"] > 0.4  # chance is 0.1
    assert objective == pytest.approx(metrics["val/acc"], abs=1e-6)
    assert metrics["data"] == "synthetic garments"
    assert (metrics["seed"], metrics["epochs"], metrics["parameters"]) == (42, 3, 784 * 32 + 32 + 32 * 10 + 10)
    assert {"test/loss", "test/f1_macro", "test/acc/Ankle boot", "val/loss", "train/loss", "train/acc"} <= set(metrics)
    assert {"seconds", "samples_per_second", "device", "version/torch", "version/fashion-mlp"} <= set(metrics)
    assert {path.name for path in (run_dir / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt", "previous.ckpt"}
    assert metrics["checkpoint"] == "checkpoints/best.ckpt"

    events = EventAccumulator(str(run_dir)).Reload()
    scalars = {tag: [event.step for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    for tag in ("train/loss", "train/acc", "val/loss", "val/acc"):
        assert scalars[tag] == [10, 20, 30]
    assert len(scalars["test/acc"]) == 1
    assert capsys.readouterr().err == ""


def test_the_loss_is_logged_every_n_steps(compose_small: Compose) -> None:
    cfg = compose_small("run", "trainer.log_every_n_steps=4", "scheduler=cosine")
    train(cfg)
    events = EventAccumulator(cfg.run_dir).Reload()
    assert [event.step for event in events.Scalars("train/loss_step")] == [4, 8, 12, 16, 20]
    rates = [event.value for event in events.Scalars("lr")]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 2 * rates[-1]


def test_what_is_reported_is_what_the_best_checkpoint_scored(compose_small: Compose) -> None:
    cfg = compose_small("run", "trainer.max_epochs=4", "optimizer.lr=0.03")
    train(cfg)
    events = EventAccumulator(cfg.run_dir).Reload()
    accuracies = [event.value for event in events.Scalars("val/acc")]
    metrics = read_metrics(cfg.run_dir)
    assert metrics["val/acc"] == pytest.approx(max(accuracies), abs=1e-6)
    assert metrics["epoch"] == accuracies.index(max(accuracies)) + 1


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(compose_small: Compose) -> None:
    configs = [
        compose_small(name, f"seed={seed}", "model.dropout=0.2", "logger=none")
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    ]
    for cfg in configs:
        train(cfg)
    first, again, other = (weights_of(cfg.run_dir) for cfg in configs)
    assert same(first, again)
    assert not same(first, other)


def test_without_validation_the_last_weights_are_tested(compose_small: Compose) -> None:
    cfg = compose_small("run", "data.val_size=0", "logger=none")
    objective = train(cfg)
    metrics = read_metrics(cfg.run_dir)
    assert not [name for name in metrics if name.startswith("val/")]
    assert metrics["checkpoint"] == "checkpoints/last.ckpt"
    assert objective == pytest.approx(metrics["train/loss"], abs=1e-6)
    assert {path.name for path in Path(cfg.run_dir, "checkpoints").iterdir()} == {"last.ckpt", "previous.ckpt"}


def test_the_test_set_is_read_once_after_training(compose_small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = compose_small("run", "logger=none")
    seen: list[tuple[str, bool]] = []
    read = SyntheticDataModule.read_split

    def noted(self: SyntheticDataModule, split: str) -> Any:
        seen.append((split, Path(cfg.run_dir, "checkpoints/last.ckpt").exists()))
        return read(self, split)

    monkeypatch.setattr(SyntheticDataModule, "read_split", noted)
    train(cfg)
    assert seen == [("train", False), ("test", True)]


def assert_kept(cfg: DictConfig, told: UserError, *, epoch: int) -> None:
    """Hold that a run which failed has named its last checkpoint, and that both are good ones, the last of an epoch."""
    last = Path(cfg.run_dir, "checkpoints/last.ckpt")
    assert str(last) in str(told)
    assert torch.load(last, weights_only=True)["epoch"] == epoch
    assert all(
        tensor.isfinite().all() for name in ("best", "last") for tensor in weights_of(cfg.run_dir, name).values()
    )


@pytest.mark.parametrize("steps", [1, 4, 16])
def test_a_loss_that_becomes_infinite_keeps_the_last_good_checkpoint(
    compose_small: Compose, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    cfg = compose_small("run", "logger=none", "trainer.max_epochs=4", f"steps_per_execution={steps}")
    step = Classifier.model_step

    def poisoned(self: Classifier, batch: Any, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        loss, logits = step(self, batch, number)
        return (loss * float("nan") if number == 24 else loss), logits

    monkeypatch.setattr(Classifier, "model_step", poisoned)
    with pytest.raises(UserError, match=r"the loss is nan in epoch 3, step 24, at a learning rate of 0.001") as told:
        train(cfg)
    assert_kept(cfg, told.value, epoch=1)
    assert not Path(cfg.run_dir, "metrics.json").exists()


@pytest.mark.parametrize("several", [True, False])
def test_a_gradient_that_explodes_in_the_last_step_keeps_the_last_good_checkpoint(
    compose_small: Compose, monkeypatch: pytest.MonkeyPatch, several: bool
) -> None:
    cfg = compose_small("run", "logger=none", "trainer.max_epochs=4", *[] if several else ["steps_per_execution=1"])
    step = Classifier.model_step

    def exploding(self: Classifier, batch: Any, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        loss, logits = step(self, batch, number)
        if number == 20:  # the last of the second epoch; the loss itself stays as it is
            loss.register_hook(lambda gradient: gradient * float("inf"))  # type: ignore[no-untyped-call]
        return loss, logits

    monkeypatch.setattr(Classifier, "model_step", exploding)
    with pytest.raises(
        UserError, match=r"exploded, and model.layers.0.weight is NaN or infinite in epoch 2, step 20, at .* 0.001"
    ) as told:
        train(cfg)
    assert_kept(cfg, told.value, epoch=0)


def test_a_learning_rate_that_is_far_too_high(compose_small: Compose) -> None:
    cfg = compose_small("run", "logger=none", "optimizer=sgd", "optimizer.lr=1e30")
    with pytest.raises(
        UserError,
        match=r"the loss is nan in epoch 1, step 2, at a learning rate of 1e\+30 \(one step before: 2.\d+\). "
        r"Lower optimizer.lr or set trainer.gradient_clip_val. No checkpoint was saved yet",
    ):
        train(cfg)


def test_a_loss_that_was_never_finite_is_not_blamed_on_the_learning_rate(compose_small: Compose) -> None:
    cfg = compose_small("run", "logger=none", "model.std=1e-46")
    with pytest.raises(UserError, match=r"is nan in epoch 1, step 1, .* Check the model and the data"):
        train(cfg)


def test_weights_that_are_not_finite_are_not_written(compose_small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = compose_small("run", "logger=none", "trainer.val_check_interval=5", "trainer.max_epochs=1")
    ended = Classifier.on_validation_epoch_end

    def ruined(self: Classifier) -> None:
        ended(self)
        if self.global_step == 10:
            next(self.parameters()).data.fill_(float("nan"))

    monkeypatch.setattr(Classifier, "on_validation_epoch_end", ruined)
    with pytest.raises(UserError, match=r"layers.0.weight is NaN .* step 10, .* Earlier checkpoints: .*/best.ckpt"):
        train(cfg)
    assert torch.load(Path(cfg.run_dir, "checkpoints/best.ckpt"), weights_only=True)["global_step"] == 5


def test_a_network_beyond_any_memory_names_the_keys(compose_small: Compose) -> None:
    cfg = compose_small("run", "logger=none", f"model.hidden_sizes=[10,{10**15}]")
    with pytest.raises(
        UserError,
        match=r"out of memory on the CPU, which could not give \d+ bytes more: lower data.batch_size \(50\), "
        r"model.hidden_sizes \(\[10, 1000000000000000\]\), .* data.eval_batch_size \(1000\), or set trainer.precision",
    ):
        train(cfg)
    assert not Path(cfg.run_dir).exists()


@pytest.mark.parametrize("step", ["training_step", "test_step"])
def test_a_device_without_memory_names_the_keys(
    compose_small: Compose, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def exhausted(*arguments: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of")

    monkeypatch.setattr(Classifier, step, exhausted)
    cfg = compose_small("run", "logger=none", "steps_per_execution=1", "trainer.max_epochs=1")
    with pytest.raises(UserError, match=r"^out of memory on CUDA, which could not give 2.00 GiB more: lower data"):
        train(cfg)


def test_a_run_goes_on_from_a_checkpoint(compose_small: Compose) -> None:
    first = compose_small("first", "logger=none")
    train(first)
    second = compose_small(
        "second", "logger=none", "trainer.max_epochs=3", f"ckpt_path={first.run_dir}/checkpoints/last.ckpt"
    )
    train(second)
    checkpoint = torch.load(Path(second.run_dir, "checkpoints/last.ckpt"), weights_only=True)
    assert (checkpoint["epoch"], checkpoint["global_step"]) == (2, 30)


def test_a_checkpoint_that_has_trained_long_enough_is_refused(compose_small: Compose) -> None:
    first = compose_small("first", "logger=none")
    train(first)
    second = compose_small("second", "logger=none", f"ckpt_path={first.run_dir}/checkpoints/last.ckpt")
    with pytest.raises(UserError, match=r"trained for 2 epochs already. Set trainer.max_epochs above that"):
        train(second)


def test_a_folder_belongs_to_one_run(compose_small: Compose) -> None:
    cfg = compose_small("run", "logger=none")
    train(cfg)
    before = read_metrics(cfg.run_dir)
    with pytest.raises(UserError, match="holds a run already"):
        train(cfg)
    assert read_metrics(cfg.run_dir) == before


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
def test_what_fails_while_it_is_built_leaves_no_folder(
    compose_small: Compose, overrides: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[1])
    cfg = compose_small("run", "logger=none", *overrides)
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
        ["trainer=debug"],
        ["trainer.fast_dev_run=true"],
        ["~callbacks.best_checkpoint", "~callbacks.last_checkpoint", "trainer.enable_checkpointing=false"],
    ],
    ids=" ".join,
)
def test_options_work_together(compose_small: Compose, overrides: list[str]) -> None:
    cfg = compose_small("run", "logger=none", "trainer.max_epochs=1", *overrides)
    train(cfg)
    assert 0 <= read_metrics(cfg.run_dir)["test/acc"] <= 1


def test_a_compiled_model_gives_a_plain_checkpoint(compose_small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[torch.nn.Module] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(self))
    cfg = compose_small("run", "logger=none", "model.compile=true", "trainer.fast_dev_run=false")
    train(cfg)
    assert len(compiled) == 1
    assert (
        "compile"
        not in torch.load(Path(cfg.run_dir, "checkpoints/last.ckpt"), weights_only=True)["fashion_mlp"]["model"]
    )
