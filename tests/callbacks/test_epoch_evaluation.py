"""The figures after an epoch are those of the weights that the epoch ended with."""

import json
from pathlib import Path

import pytest

from fashion_mlp.checkpoint.load import load_classifier
from fashion_mlp.data import build_datamodule
from fashion_mlp.inference.evaluate import collect_outputs, compute_metrics
from fashion_mlp.training import train
from tests.conftest import Compose


def test_parts_are_evaluated_with_the_final_weights(compose_small: Compose, data_root: Path) -> None:
    parts = "+callbacks.extra={_target_:fashion_mlp.callbacks.EpochEvaluation,splits:[train,test]}"
    cfg = compose_small("run", parts, "model.dropout=0.5", "data.val_size=0", "logger=none")
    train(cfg)
    metrics = json.loads(Path(cfg.run_dir, "metrics.json").read_text())
    classifier = load_classifier(Path(cfg.run_dir, "checkpoints/last.ckpt"))
    data = build_datamodule("synthetic", {"root": str(data_root), "train_size": 600, "test_size": 200, "val_size": 0})
    data.setup("fit")
    data.setup("test")
    for part in ("train", "test"):
        expected = compute_metrics(collect_outputs(classifier, data.loader(part)), classifier.class_names)
        assert metrics[f"{part}_after_epoch/acc"] == pytest.approx(expected["accuracy"], abs=1e-6)
        assert metrics[f"{part}_after_epoch/loss"] == pytest.approx(expected["loss"], abs=1e-5)
    assert metrics["train/acc"] != metrics["train_after_epoch/acc"]  # dropout was on in the one, off in the other
    assert metrics["test/acc"] == pytest.approx(metrics["test_after_epoch/acc"], abs=1e-6)


def test_it_does_not_change_what_is_learned(compose_small: Compose) -> None:
    parts = "+callbacks.extra={_target_:fashion_mlp.callbacks.EpochEvaluation,splits:[train,val]}"
    losses = []
    for name, overrides in (("with", [parts]), ("without", [])):
        cfg = compose_small(name, "model.dropout=0.3", "model.norm=batch", "logger=none", *overrides)
        train(cfg)
        losses.append(json.loads(Path(cfg.run_dir, "metrics.json").read_text())["train/loss"])
    assert losses[0] == losses[1]
