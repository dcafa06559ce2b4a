"""Each augmentation does what its documentation says, on drawn images."""

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from fashion_mlp.build.parts import build_datamodule
from fashion_mlp.data import Augmentation, SyntheticDataModule
from fashion_mlp.inference.test_data import build_untrusted_datamodule
from fashion_mlp.runtime.errors import UserError
from tests.conftest import Compose

SHAPES = [(1, 28, 28), (3, 7, 12), (3, 12, 7)]
CLASSES = 10


def drawn(shape: tuple[int, int, int], count: int = 500) -> tuple[Tensor, Tensor]:
    """Return images without a black pixel, so that black pixels come from the augmentation, and labels."""
    torch.manual_seed(0)
    return torch.randint(1, 256, (count, *shape), dtype=torch.uint8), torch.randint(CLASSES, (count,))


def shifted(images: Tensor, down: int, right: int) -> Tensor:
    """Shift all images alike; black pixels move in."""
    height, width = images.shape[2:]
    moved = torch.zeros_like(images)
    moved[:, :, max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = images[
        :, :, max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)
    ]
    return moved


def same(first: Tensor, second: Tensor) -> Tensor:
    """Return which images are the same in two batches, bool `[B]`."""
    return (first == second).flatten(1).all(1)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_flips_mirror_each_image_by_a_chance_of_its_own(shape: tuple[int, int, int]) -> None:
    images, labels = drawn(shape)
    flipped, targets = Augmentation(hflip=0.3)(images, labels, CLASSES)
    is_flipped = same(flipped, images.flip(3))
    assert torch.equal(is_flipped, ~same(flipped, images))
    assert 0.2 < is_flipped.float().mean() < 0.4
    assert torch.equal(targets, labels)
    assert torch.equal(Augmentation(hflip=1)(images, labels, CLASSES)[0], images.flip(3))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shifts_reach_every_offset_and_none_beyond(shape: tuple[int, int, int]) -> None:
    images, labels = drawn(shape)
    moved, targets = Augmentation(translate=2)(images, labels, CLASSES)
    offsets = [(down, right) for down in range(-2, 3) for right in range(-2, 3)]
    counts = torch.stack([same(moved, shifted(images, *offset)) for offset in offsets]).sum(1)
    assert counts.sum() == len(images)
    assert counts.min() > 5  # 20 are expected
    assert torch.equal(targets, labels)


def test_a_flip_and_a_shift_go_together() -> None:
    images, labels = drawn((3, 7, 12))
    moved, _ = Augmentation(hflip=0.5, translate=1)(images, labels, CLASSES)
    variants = [
        same(moved, shifted(source, down, right))
        for source in (images, images.flip(3))
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
    ]
    counts = torch.stack(variants).sum(1)
    assert counts.sum() == len(images)
    assert counts.min() > 5


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_erasing_blackens_one_rectangle(shape: tuple[int, int, int]) -> None:
    images, labels = drawn(shape, 2000)
    erased, _ = Augmentation(erasing=0.6)(images, labels, CLASSES)
    is_black = (erased == 0).all(1)
    assert torch.equal(erased, images * ~is_black.unsqueeze(1))
    rows, columns = is_black.any(2), is_black.any(1)
    # A rectangle is all of its rows by all of its columns, and these have no gaps.
    assert torch.equal(is_black, rows.unsqueeze(2) & columns.unsqueeze(1))
    for inside in (rows, columns):
        edges = torch.diff(torch.nn.functional.pad(inside.int(), (1, 1)), dim=1)
        assert (edges == 1).sum(1).max() == 1
    is_erased = is_black.flatten(1).any(1)
    assert 0.55 < is_erased.float().mean() < 0.65
    heights, widths = rows.sum(1)[is_erased].float(), columns.sum(1)[is_erased].float()
    area = heights * widths / (shape[1] * shape[2])
    assert area.max() < 0.42  # 0.33, and whole pixels
    if shape == SHAPES[0]:
        assert area.min() > 0.015
        assert (area.mean() - 0.175).abs() < 0.01
        assert (heights / widths).log().mean().abs() < 0.1
    # It may lie anywhere: every pixel is hit.
    assert is_black.any(0).all()


def test_mixup_weighs_images_and_targets_alike() -> None:
    images, _ = drawn((3, 7, 12), CLASSES)
    labels = torch.arange(CLASSES)  # so that a target tells which images were mixed
    weights = []
    for _ in range(30):
        mixed, targets = Augmentation(mixup=0.5)(images, labels, CLASSES)
        assert mixed.dtype == torch.uint8
        assert torch.allclose(targets.sum(1), torch.ones(CLASSES))
        assert torch.allclose(mixed.float(), torch.einsum("nk,kchw->nchw", targets, images.float()), atol=0.51)
        assert ((targets > 0).sum(1) <= 2).all()
        assert torch.equal(targets.argmax(1), labels)
        weights.append(targets.max(1).values)
    assert len(set(torch.cat(weights).tolist())) > 200  # one for each image
    # E[max(w, 1 - w)] of Beta(1/2, 1/2), with a tenth of the images mixed with themselves.
    assert torch.cat(weights).mean() == pytest.approx(0.1 + 0.9 * (0.5 + 1 / torch.pi), abs=0.03)


def test_what_is_off_changes_and_draws_nothing() -> None:
    images, labels = drawn((1, 28, 28), 5)
    before = torch.get_rng_state()
    augment = Augmentation(off_fraction=0.5)
    assert not augment.is_on
    same_images, same_labels = augment(images, labels, CLASSES)
    assert same_images is images
    assert same_labels is labels
    assert torch.equal(torch.get_rng_state(), before)


def test_the_same_random_numbers_give_the_same_images() -> None:
    images, labels = drawn((1, 28, 28), 50)
    augment = Augmentation(hflip=0.5, translate=2, erasing=0.5, mixup=0.2)
    results = []
    for _ in range(2):
        torch.manual_seed(7)
        results.append(augment(images, labels, CLASSES))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert not torch.equal(augment(images, labels, CLASSES)[0], results[0][0])


def test_samples_to_look_at_are_augmented_and_move_no_random_numbers(compose_small: Compose) -> None:
    data = build_datamodule(compose_small("run", "data.augment.hflip=1", "data.augment.translate=1"))
    assert isinstance(data, SyntheticDataModule)
    data.prepare_data()
    data.setup("fit")
    plain, _ = data.splits["train"].__getitems__(range(8))
    before = torch.get_rng_state()
    shown = data.training_samples(8)
    assert torch.equal(torch.get_rng_state(), before)
    assert shown.shape == plain.shape
    offsets = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    assert torch.stack([same(shown, shifted(plain.flip(3), *offset)) for offset in offsets]).any(0).all()
    data.augment = Augmentation()
    assert torch.equal(data.training_samples(8), plain)


def test_each_key_reaches_it(compose_small: Compose) -> None:
    values = {"hflip": 0.5, "translate": 1, "erasing": 0.25, "mixup": 0.2, "off_fraction": 0.1}
    cfg = compose_small("run", *(f"data.augment.{key}={value}" for key, value in values.items()))
    assert vars(build_datamodule(cfg).augment) == values
    defaults = OmegaConf.to_container(compose_small("run").data.augment)
    assert isinstance(defaults, dict)
    del defaults["_target_"]
    assert defaults == vars(Augmentation())


def test_nothing_is_augmented_where_nothing_is_learned() -> None:
    with pytest.raises(UserError, match=r"^data\.augment: only for train.py"):
        build_untrusted_datamodule("synthetic", {"augment": {"hflip": 0.5}})
