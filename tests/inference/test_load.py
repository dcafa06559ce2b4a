"""Tests of ensembles of checkpoints."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fashion_mlp.classifier import METADATA_KEY
from fashion_mlp.inference.load import load_ensemble
from fashion_mlp.models import MLP, TTA
from fashion_mlp.runtime.errors import UserError

METADATA = {
    "model": {"_target_": "fashion_mlp.models.MLP", "hidden_sizes": [], "image_shape": [1, 4, 6], "num_classes": 2},
    "class_names": ["hat", "sock"],
    "data": {"name": "synthetic garments", "option": "synthetic", "arguments": {"seed": 0, "val_size": 100}},
    "augment": {"hflip": 0.5, "translate": 1},
}

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Return a function that saves a checkpoint with random weights and changed metadata."""

    def save_checkpoint(name: str, **changes: Any) -> Path:
        path = tmp_path / f"{name}.ckpt"
        weights = {
            f"model.{key}": value for key, value in MLP([], image_shape=(1, 4, 6), num_classes=2).state_dict().items()
        }
        torch.save({"state_dict": weights, METADATA_KEY: {**METADATA, **changes}, "epoch": 0}, path)
        return path

    return save_checkpoint


@pytest.mark.parametrize("tta", [False, True])
def test_ensemble_averages_probabilities(save: Save, tta: bool) -> None:
    paths = [save("a"), save("b")]
    members = [load_ensemble([path], tta=tta) for path in paths]
    images = torch.randint(0, 256, (5, 1, 4, 6), dtype=torch.uint8)
    probabilities = [member.predict(images).probabilities for member in members]
    ensemble = load_ensemble(paths, tta=tta)
    assert torch.allclose(ensemble.predict(images).probabilities, torch.stack(probabilities).mean(0), atol=1e-6)
    assert not ensemble.training
    assert ensemble.metadata == METADATA
    assert torch.allclose(probabilities[0], members[0].predict(images.flip(-1)).probabilities, atol=1e-5) == tta


def test_tta_uses_the_augmentation_of_training(save: Save) -> None:
    translated = save("a", augment={"hflip": 0.0, "translate": 2})
    plain = save("b", augment={"hflip": 0.0, "translate": 0})
    member = load_ensemble([translated], tta=True)
    assert isinstance(member.model, TTA)
    assert (member.model.hflip, member.model.translate) == (False, True)
    with pytest.raises(UserError, match=r"b.ckpt: trained on images neither flipped nor translated, so"):
        load_ensemble([translated, plain], tta=True)


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"class_names": ["sock", "hat"]}, "list of classes"),
        ({"model": METADATA["model"] | {"image_shape": [1, 6, 4]}}, "image shape"),  # type: ignore[operator]
        ({"data": METADATA["data"] | {"arguments": {"seed": 1, "val_size": 100}}}, "data.seed"),  # type: ignore[operator]
        ({"data": METADATA["data"] | {"option": "fashion_mnist"}}, "data.option"),  # type: ignore[operator]
    ],
)
def test_checkpoints_of_different_data_are_refused(save: Save, changes: dict[str, Any], difference: str) -> None:
    paths = [save("a"), save("b"), save("c", **changes)]
    with pytest.raises(UserError, match=rf"c\.ckpt: its {difference} differs from that of .*a\.ckpt"):
        load_ensemble(paths)


def test_size_of_the_validation_split_may_differ(save: Save) -> None:
    data = METADATA["data"] | {"arguments": {"seed": 0, "val_size": 0}}  # type: ignore[operator]
    load_ensemble([save("a"), save("b", data=data)])


def test_split_of_custom_images_may_differ_if_the_test_images_are_separate(save: Save) -> None:
    def save_trained_on(name: str, **arguments: Any) -> Path:
        return save(name, data={"name": "images", "option": "image_folder", "arguments": arguments})

    first = save_trained_on("a", img_dir="images/train", test_img_dir="images/test", split_seed=0, test_size=0.2)
    second = save_trained_on("b", img_dir="images/train", test_img_dir="images/test", split_seed=1, test_size=0.3)
    load_ensemble([first, second])
    first, second = (
        save_trained_on(name, img_dir="images", test_img_dir=None, split_seed=seed)
        for name, seed in (("c", 0), ("d", 1))
    )
    with pytest.raises(UserError, match=r"d\.ckpt: its data\.split_seed differs from that of .*c\.ckpt"):
        load_ensemble([first, second])
