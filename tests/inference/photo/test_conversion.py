"""Tests of the conversion of photographs to images like those of Fashion-MNIST."""

import contextlib
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from fashion_mlp.data.image_io import read_image
from fashion_mlp.data.synthetic import draw_garments
from fashion_mlp.inference.photo.rendering import is_in_dataset_form, render
from fashion_mlp.inference.photo.segmentation import find_object
from fashion_mlp.runtime.errors import UserError
from tests.photographs import KINDS, take_photograph


def garment(height: int = 28, width: int = 16) -> Tensor:
    """Return a grey rectangle with a lighter belt on black, placed as in the data set."""
    image = torch.zeros(1, 28, 28, dtype=torch.uint8)
    top, left = (28 - height + 1) // 2, (28 - width + 1) // 2
    image[:, top : top + height, left : left + width] = 120
    image[:, 12:15, left : left + width] = 230
    return image


def enlarge(image: Tensor, side: int, *, black_on_white: bool, kind: str) -> Tensor:
    pixels = image[0].numpy()
    photograph = Image.fromarray(255 - pixels if black_on_white else pixels)
    buffer = BytesIO()
    photograph.resize((side, side), Image.Resampling.BICUBIC).save(buffer, kind)
    return read_image(buffer.getvalue(), "rgb")


def convert(photo: Tensor) -> Tensor:
    return render(find_object(photo))[0]


def difference(first: Tensor, second: Tensor) -> float:
    return float((first.float() - second.float()).abs().mean())


def test_images_of_the_data_set_are_unchanged() -> None:
    for image in torch.from_numpy(draw_garments(20, seed=0)[0]):
        assert is_in_dataset_form(image.expand(3, -1, -1))
        assert not is_in_dataset_form(255 - image.expand(3, -1, -1))


@pytest.mark.parametrize("black_on_white", [False, True])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("size", [(28, 16), (28, 17), (15, 28), (12, 28)])
def test_enlarged_image_is_restored(black_on_white: bool, kind: str, size: tuple[int, int]) -> None:
    image = garment(*size)
    converted = convert(enlarge(image, 400, black_on_white=black_on_white, kind=kind))
    assert (converted.shape, converted.dtype) == ((1, 28, 28), torch.uint8)
    assert difference(converted, image) < 8  # a side may be rounded to one pixel more
    assert difference(converted, image.roll((1, 1), (1, 2))) > 1.5 * difference(converted, image)


@pytest.mark.parametrize("position", [(0, 0), (300, 10), (200, 200)])
def test_position_in_the_photograph_does_not_matter(position: tuple[int, int]) -> None:
    image = garment()
    photograph = torch.full((3, 900, 700), 240, dtype=torch.uint8)
    enlargement = enlarge(image, 400, black_on_white=True, kind="PNG")
    photograph[:, position[0] : position[0] + 400, position[1] : position[1] + 400] = (
        enlargement.float() * 240 / 255
    ).byte()
    converted = convert(photograph)
    assert difference(converted, image) < 12
    assert converted[0, 13, 14] > 200
    assert converted[0, :, 0].max() < 20


def test_wide_object_fills_the_width_and_is_centred() -> None:
    photograph = torch.full((3, 300, 500), 255, dtype=torch.uint8)
    photograph[:, 40:140, 100:300] = 50
    converted = convert(photograph)[0]
    assert (converted.max(0).values > 100).all()
    rows = (converted.max(1).values > 100).nonzero().flatten()
    assert (int(rows[0]), int(rows[-1])) == (7, 20)


@pytest.mark.parametrize("shape", [(28, 28), (1, 1), (3, 1000), (700, 500)])
@pytest.mark.parametrize("level", [0, 40, 128, 255])
def test_empty_photograph_is_refused(shape: tuple[int, int], level: int) -> None:
    with pytest.raises(UserError, match="no object found: nothing stands out from the background"):
        find_object(torch.full((3, *shape), level, dtype=torch.uint8))


def test_object_that_touches_all_sides_is_refused() -> None:
    photograph = torch.full((3, 200, 200), 220, dtype=torch.uint8)
    photograph[:, 60:120], photograph[:, :, 70:130] = 40, 40
    with pytest.raises(UserError, match=r"no object found: .* touches all four sides"):
        find_object(photograph)


@pytest.mark.parametrize("seed", range(10))
def test_noise_of_any_size_is_converted_or_refused(seed: int) -> None:
    height, width = np.random.default_rng(seed).integers(1, 90, 2).tolist()
    noise = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
    with contextlib.suppress(UserError):
        assert convert(noise).shape == (1, 28, 28)


@pytest.mark.parametrize("name", KINDS)
def test_object_is_found_on_any_background(name: str) -> None:
    image = torch.from_numpy(draw_garments(20, seed=0)[0][3]).unsqueeze(0)
    kind = KINDS[name]
    converted = convert(read_image(take_photograph(image, kind, seed=0), "rgb"))[0]
    expected = convert(enlarge(image, 400, black_on_white=True, kind="PNG"))[0]
    first, second = converted > 30, (expected.flip(-1) if kind.is_mirrored else expected) > 30
    assert (first & second).sum() > (0.75 if kind.angle or kind.cut or kind.shadow else 0.85) * (first | second).sum()
