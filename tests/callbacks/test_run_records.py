"""Tests of the records of a run, which are read with TensorBoard's own code."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, metadata
from torch import Tensor
from torch.testing import assert_close

from fashion_mlp.build.parts import to_container
from fashion_mlp.callbacks.run_records import log_run
from fashion_mlp.classifier import Classifier
from fashion_mlp.models import MLP
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.training import train
from tests.conftest import LOGGED_AND_TESTED, Compose, Run


def hparams_of(events: EventAccumulator) -> tuple[dict[str, object], int | None]:
    """Return the hyperparameters and the status of a run in HPARAMS."""
    content = events.summary_metadata
    start = metadata.parse_session_start_info_plugin_data(content[metadata.SESSION_START_INFO_TAG].plugin_data.content)
    values = {name: getattr(value, str(value.WhichOneof("kind"))) for name, value in start.hparams.items()}
    end = content.get(metadata.SESSION_END_INFO_TAG)
    status = end and metadata.parse_session_end_info_plugin_data(end.plugin_data.content).status
    return values, status


def test_run_with_all_records(compose_small: Compose) -> None:
    cfg = compose_small(
        "run",
        "callbacks=default",
        "logger=[tensorboard,csv]",
        "test=true",
        "trainer.log_every_n_steps=5",
        "callbacks.gradient_norm.every_n_steps=5",
        "callbacks.weight_histograms.every_n_epochs=2",
        "callbacks.evaluation_figures.every_n_epochs=1",
        "callbacks.evaluation_figures.count=2",
    )
    train(cfg)
    run = Run(cfg.run_dir)
    events = run.events
    tags = events.Tags()
    assert {
        *("train/loss", "train/acc", "val/loss", "val/acc", "test/loss", "test/acc"),
        *("train/lr", "train/gradient_norm"),
    } <= set(tags["scalars"])
    assert [step for step, _ in run.scalars("train/gradient_norm")] == [5, 10, 15, 20]
    assert [step for step, _ in run.scalars("val/acc")] == [10, 20]
    assert set(tags["images"]) == {
        "train/images",
        *(f"{stage}/{name}" for stage in ("val", "test") for name in ("confusion_matrix", "predictions", "mistakes")),
    }
    assert [event.step for event in events.Images("val/confusion_matrix")] == [10, 20]
    assert set(tags["distributions"]) == {f"layers.{layer}.{name}" for layer in (0, 2) for name in ("weight", "bias")}
    assert tags["graph"]
    (text,) = events.Tensors("config/text_summary")
    assert "hidden_sizes" in text.tensor_proto.string_val[0].decode()
    (layout,) = events.Tensors("custom_scalars__config__")
    pattern = "^train/loss$"  # TensorBoard takes it as a regular expression, which must not match train/loss_step
    assert pattern in layout.tensor_proto.string_val[0].decode(errors="replace")
    assert {path.name for path in run.dir.glob("*.png")} == {
        "confusion_matrix.png",
        "curves.png",
        "mistakes.png",
        "predictions.png",
    }
    assert (run.dir / "csv/metrics.csv").is_file()


def test_hparams_has_hyperparameters(compose_small: Compose) -> None:
    cfg = compose_small(
        "run",
        "optimizer=sgd",
        "optimizer.lr=0.05",
        "scheduler=cosine",
        "trainer.max_epochs=1",
        "data.augment.hflip=0.5",
        *LOGGED_AND_TESTED,
    )
    train(cfg)
    events = Run(cfg.run_dir).events
    values, status = hparams_of(events)
    assert status == api_pb2.STATUS_SUCCESS
    assert values["optimizer"] == "SGD"
    assert values["optimizer.lr"] == 0.05
    assert values["model.hidden_sizes"] == "[32]"
    assert values["scheduler"] == "cosine"
    assert values["seed"] == 42
    assert values["data.augment.hflip"] == 0.5
    # HPARAMS adds no points to the charts.
    assert all(len(events.Scalars(tag)) == 1 for tag in ("val/loss", "val/acc", "test/loss", "test/acc"))


def test_names_of_trials_are_unique_and_start_with_the_job_or_time(
    compose_small: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = []
    for directory in ("runs/a-sweep/0", "runs/a-sweep/1", "runs/b-sweep/0", "single"):
        logger = TensorBoardLogger(tmp_path / directory, name="", version="")
        log_run(logger, to_container(compose_small(directory)), MLP([4]), torch.zeros(1, 1, 28, 28, dtype=torch.uint8))
        logger.save()
        content = Run(directory).events.summary_metadata[metadata.SESSION_START_INFO_TAG].plugin_data.content
        names.append(metadata.parse_session_start_info_plugin_data(content).group_name)
    assert names == ["0 (runs/a-sweep)", "1 (runs/a-sweep)", "0 (runs/b-sweep)", "single (.)"]


def test_hparams_has_the_status_of_a_failed_run(compose_small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    def return_nan(self: Classifier, batch: tuple[Tensor, Tensor], step: int) -> tuple[Tensor, Tensor]:
        logits: Tensor = self.model(batch[0])
        return logits.sum() * float("nan"), logits

    monkeypatch.setattr(Classifier, "compute_training_loss", return_nan)
    cfg = compose_small("run", "logger=tensorboard")
    with pytest.raises(UserError, match="the loss is nan"):
        train(cfg)
    assert hparams_of(Run(cfg.run_dir).events)[1] == api_pb2.STATUS_FAILURE


def test_records_do_not_change_training(compose_small: Compose) -> None:
    weights = []
    for name, logger in (("with", "tensorboard"), ("without", "none")):
        cfg = compose_small(name, f"logger={logger}", "model.dropout=0.2", "model.norm=batch")
        train(cfg)
        weights.append(Run(cfg.run_dir).checkpoint("last")["state_dict"])
    assert_close(*weights, rtol=0, atol=0)


def test_graph_is_skipped_if_the_model_cannot_be_traced(
    compose_small: Compose, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    forward = MLP.forward

    def fail_when_traced(self: MLP, images: Tensor) -> Tensor:
        if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
            raise RuntimeError("cannot be traced\nand more")
        return forward(self, images)

    monkeypatch.setattr(MLP, "forward", fail_when_traced)
    cfg = compose_small("run", "trainer.max_epochs=1", "logger=tensorboard")
    train(cfg)
    assert Path(cfg.run_dir, "metrics.json").is_file()
    assert not Run(cfg.run_dir).events.Tags()["graph"]
    assert "TensorBoard's graph of the model: left out (RuntimeError: cannot be traced)" in caplog.messages


def test_large_training_images_are_reduced(compose_small: Compose) -> None:
    cfg = compose_small("run")
    logger = TensorBoardLogger(cfg.run_dir, name="", version="")
    images = torch.randint(0, 256, (32, 3, 512, 512), dtype=torch.uint8)
    log_run(logger, to_container(cfg), MLP([4], image_shape=(3, 512, 512)), images)
    logger.save()
    (image,) = Run(cfg.run_dir).events.Images("train/images")
    assert (image.width, image.height) == (8 * 66 + 2, 4 * 66 + 2)


def test_compiled_model_has_a_graph(compose_small: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_ = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compile_(self, backend="eager"))  # fast
    one_step = "trainer.limit_train_batches=1", "trainer.max_epochs=1"
    cfg = compose_small("run", "logger=tensorboard", "model.compile=true", *one_step)
    train(cfg)
    assert Run(cfg.run_dir).events.Tags()["graph"]
