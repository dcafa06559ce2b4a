"""Tests of the evaluation of splits after each epoch."""

from pathlib import Path

import pytest

from fashion_mlp.inference.evaluate import collect_outputs, compute_metrics
from fashion_mlp.inference.load import load_classifier
from fashion_mlp.inference.test_data import build_untrusted_datamodule
from fashion_mlp.training import train
from tests.conftest import Compose, Run


def test_splits_are_evaluated_with_the_weights_at_the_end_of_the_epoch(compose_small: Compose, data_root: Path) -> None:
    evaluation = (
        "+callbacks.extra={_target_:fashion_mlp.callbacks.epoch_evaluation.EpochEvaluation,splits:[train,test]}"
    )
    cfg = compose_small("run", evaluation, "model.dropout=0.5", "data.val_size=0", "test=true")
    train(cfg)
    metrics = Run(cfg.run_dir).metrics
    classifier = load_classifier(Path(cfg.run_dir, "checkpoints/last.ckpt"))
    data = build_untrusted_datamodule(
        "synthetic", {"root": str(data_root), "train_size": 600, "test_size": 200, "val_size": 0}
    )
    data.setup("fit")
    data.setup("test")
    for split in ("train", "test"):
        expected = compute_metrics(collect_outputs(classifier, data.loader(split)), classifier.class_names)
        assert metrics[f"{split}_after_epoch/acc"] == pytest.approx(expected["accuracy"], abs=1e-6)
        assert metrics[f"{split}_after_epoch/loss"] == pytest.approx(expected["loss"], abs=1e-5)
    assert metrics["train/acc"] != metrics["train_after_epoch/acc"]  # with and without dropout
    assert metrics["test/acc"] == pytest.approx(metrics["test_after_epoch/acc"], abs=1e-6)


def test_evaluation_does_not_change_training(compose_small: Compose) -> None:
    evaluation = "+callbacks.extra={_target_:fashion_mlp.callbacks.epoch_evaluation.EpochEvaluation,splits:[train,val]}"
    losses = []
    for name, overrides in (("with", [evaluation]), ("without", [])):
        cfg = compose_small(name, "model.dropout=0.3", "model.norm=batch", *overrides)
        train(cfg)
        losses.append(Run(cfg.run_dir).metrics["train/loss"])
    assert losses[0] == losses[1]
