"""Tests that a checkpoint alone restores a classifier, and that loading it executes nothing."""

import os
import pickle
import sys
from copy import deepcopy
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from torch import Tensor, nn
from torch.testing import assert_close

import fashion_mlp
from fashion_mlp.checkpoint.load import build_model, read_checkpoint
from fashion_mlp.classifier import Classifier
from fashion_mlp.config.monitoring import monitored_metrics
from fashion_mlp.inference.load import load_classifier
from fashion_mlp.runtime.errors import UserError
from fashion_mlp.training import train
from tests.checkpoint.forging import Call
from tests.conftest import Compose, Run


@pytest.fixture
def run(compose_small: Compose) -> Run:
    """Return a run whose network has batch normalization and dropout."""
    cfg = compose_small("run", "trainer.max_epochs=1", "model.norm=batch", "model.dropout=0.3")
    train(cfg)
    return Run(cfg.run_dir)


def test_classifier_is_restored_from_its_checkpoint(run: Run) -> None:
    classifier = fashion_mlp.load_classifier(run.checkpoint_path("best"))
    assert not classifier.training
    assert classifier.class_names[9] == "Ankle boot"
    assert_close(dict(classifier.state_dict()), run.checkpoint("best")["state_dict"], rtol=0, atol=0)
    images = torch.randint(0, 256, (4, 1, 28, 28), dtype=torch.uint8)
    assert torch.equal(classifier(images), classifier(images))  # no dropout


def test_checkpoint_contains_the_model_data_and_metrics(run: Run) -> None:
    metadata = run.checkpoint("best")["fashion_mlp"]
    assert metadata["model"]["hidden_sizes"] == [32]
    assert metadata["model"]["image_shape"] == [1, 28, 28]
    arguments = {"train_size": 600, "test_size": 200, "seed": 0, "split_seed": 0, "val_size": 100}
    assert metadata["data"] == {"name": "synthetic garments", "option": "synthetic", "arguments": arguments}
    assert set(metadata["metrics"]) == set(monitored_metrics([]))


def test_pickled_code_is_refused_and_not_run(tmp_path: Path) -> None:
    executed, path = tmp_path / "executed", tmp_path / "attack.ckpt"
    attack = Call(os.system, (f"touch {executed}",))
    torch.save({"fashion_mlp": attack, "state_dict": {}}, path)
    with pytest.raises(UserError, match=r"attack.ckpt: refused: pickled objects"):
        load_classifier(path)
    plain = tmp_path / "plain.pkl"
    plain.write_bytes(pickle.dumps(attack))
    with pytest.raises(UserError, match=r"refused"):
        load_classifier(plain)
    assert not executed.exists()


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "torch.load",
        "torch.nn.modules.module.torch.load",
        "torch.nn.init.normal_",
        "torch.nn.modules.module.os",
        "fashion_mlp.models.mlp.nn",
        "fashion_mlp.models.mlp.prod",
        "fashion_mlp.training.train",
        "torch.nnx.Linear",
        "torch.nn.NoSuchLayer",
        "torch.nn.no_such_module.Linear",
        "",
        3,
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_only_modules_of_this_package_and_torch_are_built(target: object, nested: bool) -> None:
    config: dict[str, Any] = {"_target_": target, "command": "true"}
    if nested:
        config = {"_target_": "torch.nn.Sequential", "_args_": [config]}
    with pytest.raises(UserError, match=r"Expected a module class from fashion_mlp.models or torch.nn"):
        build_model(config)


def test_interpolations_are_not_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "relu")
    with pytest.raises(KeyError, match=r"oc.env:SECRET"):
        build_model({"_target_": "fashion_mlp.models.MLP", "activation": "${oc.env:SECRET}"})


def test_modules_of_torch_are_built() -> None:
    model = build_model({"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "torch.nn.Flatten"}]})
    assert isinstance(model, torch.nn.Sequential)


class CustomModel(nn.Module):
    """A model with submodules from its configuration and a buffer that is not saved."""

    scale: Tensor

    def __init__(
        self,
        body: nn.Module,
        widths: dict[str, list[int]],
        *,
        image_shape: list[int],
        num_classes: int,
        **options: float,
    ) -> None:
        super().__init__()
        width = widths["hidden"][0]
        self.body = deepcopy(body)
        self.layers = nn.Sequential(nn.Linear(prod(image_shape), width), nn.Linear(width, num_classes))
        self.register_buffer("scale", torch.full((1,), options["scale"]), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(self.body(images * self.scale).flatten(1))
        return logits


def test_custom_model_is_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CustomModel, "__module__", "fashion_mlp.models.custom")
    monkeypatch.setitem(sys.modules, "fashion_mlp.models.custom", sys.modules[__name__])
    config = {
        "_target_": "fashion_mlp.models.custom.CustomModel",
        "body": {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "torch.nn.Conv2d", "_args_": [1, 1, 1]}]},
        "widths": {"hidden": [3]},
        "scale": 0.5,
        "image_shape": [1, 2, 2],
        "num_classes": 2,
    }
    model = instantiate(config, _convert_="all")  # as training does
    metadata = {
        "model": config,
        "class_names": ["hat", "sock"],
        "data": {"option": "synthetic", "arguments": {}},
        "augment": {},
    }
    weights = Classifier(model, ["hat", "sock"]).state_dict()
    torch.save({"epoch": 0, "fashion_mlp": metadata, "state_dict": weights}, tmp_path / "x.ckpt")
    loaded = load_classifier(tmp_path / "x.ckpt")
    images = torch.rand(5, 1, 2, 2)
    assert torch.equal(loaded(images), model(images))


def test_model_configuration_without_a_target_is_refused() -> None:
    with pytest.raises(UserError, match=r"does not describe a network"):
        build_model({"hidden_sizes": [3]})


def test_files_that_are_not_checkpoints_are_refused(tmp_path: Path, run: Run) -> None:
    (tmp_path / "text.ckpt").write_text("hello")
    (tmp_path / "empty.ckpt").write_bytes(b"")
    (tmp_path / "truncated.ckpt").write_bytes(run.checkpoint_path("best").read_bytes()[:5000])
    torch.save({"weights": torch.zeros(1)}, tmp_path / "other.ckpt")
    for name in ("text.ckpt", "empty.ckpt", "truncated.ckpt", "other.ckpt", "absent.ckpt", "."):
        with pytest.raises(UserError) as caught:
            read_checkpoint(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


def test_weights_that_do_not_match_the_configuration_are_refused(run: Run, tmp_path: Path) -> None:
    content = run.checkpoint("best")
    content["fashion_mlp"]["model"]["hidden_sizes"] = [33]
    torch.save(content, tmp_path / "changed.ckpt")
    with pytest.raises(UserError, match=r"changed.ckpt: weights and configuration do not match"):
        load_classifier(tmp_path / "changed.ckpt")
    content["fashion_mlp"]["model"]["_target_"] = "os.system"
    torch.save(content, tmp_path / "changed.ckpt")
    with pytest.raises(UserError, match=r"changed.ckpt: refused"):
        load_classifier(tmp_path / "changed.ckpt")


def test_unknown_attribute_of_the_package_raises() -> None:
    with pytest.raises(AttributeError, match=r"no_such_name"):
        fashion_mlp.no_such_name  # noqa: B018
