"""The network: its shape, its preprocessing, its initialisation."""

from typing import Any

import pytest
import torch
from torch import nn

from fashion_mlp.models import MLP
from fashion_mlp.models.preprocessing import PiecewiseLinearEncoding, PixelNormalization


def kinds(model: MLP) -> list[str]:
    return [type(layer).__name__ for layer in model.layers]


def test_without_hidden_layers_it_is_softmax_regression() -> None:
    model = MLP([])
    assert kinds(model) == ["Linear"]
    assert sum(parameter.numel() for parameter in model.parameters()) == 785 * 10


def test_layers_come_in_the_documented_order() -> None:
    model = MLP([20, 30], activation="gelu", dropout=0.1, norm="layer", num_classes=7)
    assert kinds(model) == [*["Linear", "LayerNorm", "GELU", "FastDropout"] * 2, "Linear"]
    assert model(torch.zeros(3, 1, 28, 28)).shape == (3, 7)


def test_colour_images_of_another_size() -> None:
    assert MLP([8], image_shape=(3, 20, 10))(torch.zeros(2, 3, 20, 10, dtype=torch.uint8)).shape == (2, 10)


def test_raw_bytes_and_floats_give_the_same_logits() -> None:
    images = torch.randint(0, 256, (5, 1, 28, 28), dtype=torch.uint8)
    model = MLP([16])
    assert torch.equal(model(images), model(images.float()))


def test_pixels_are_scaled_then_normalised() -> None:
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8)
    expected = (pixels / 255 - 0.25) / 0.5
    assert torch.allclose(PixelNormalization(mean=0.25, std=0.5)(pixels), expected)


def test_each_bin_of_brightness_gives_a_pixel_a_number_of_its_own() -> None:
    pixels = torch.tensor([[0, 10, 37, 64, 255]], dtype=torch.uint8)
    encoded = PiecewiseLinearEncoding([0, 10, 64])(pixels)
    assert encoded.view(2, 5).tolist() == [[-1, 1, 1, 1, 1], [-1, -1, 0, 1, 1]]


@pytest.mark.parametrize("init", ["kaiming", "local"])
def test_a_network_takes_the_bins_of_all_pixels(init: str) -> None:
    model = MLP([6], init=init, pixel_bins=[0, 10, 128, 255], image_shape=(3, 4, 5))
    assert model(torch.zeros(2, 3, 4, 5, dtype=torch.uint8)).shape == (2, 10)
    first = model.layers[0]
    assert isinstance(first, nn.Linear)
    assert first.in_features == 3 * 60
    assert first.weight.detach().square().sum(1).mean().item() == pytest.approx(2, rel=0.5)
    assert set(model.state_dict()) == {f"layers.{i}.{kind}" for i in (0, 2) for kind in ("weight", "bias")}


def test_normalisation_follows_the_precision_and_stays_out_of_the_weights() -> None:
    model = MLP([4]).to(torch.bfloat16)
    assert model(torch.zeros(1, 1, 28, 28, dtype=torch.uint8)).dtype == torch.bfloat16
    assert set(model.state_dict()) == {f"layers.{i}.{kind}" for i in (0, 2) for kind in ("weight", "bias")}


@pytest.mark.parametrize(("init", "gain"), [("kaiming", 2.0), ("xavier", 2 / (1 + 1000 / 784))])
def test_initial_weights_have_the_variance_of_their_method(init: str, gain: float) -> None:
    torch.manual_seed(0)
    first = MLP([1000], init=init).layers[0]
    assert isinstance(first, nn.Linear)
    assert first.weight.var().item() * 784 == pytest.approx(gain, rel=0.02)
    assert not first.bias.any()


@pytest.mark.parametrize("image_shape", [(1, 28, 28), (3, 20, 40)])
def test_local_units_begin_with_a_part_of_the_image_each(image_shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    model = MLP([500, 20], init="local", image_shape=image_shape)
    first, second = model.layers[0], model.layers[2]
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    energy = first.weight.detach().square().view(500, *image_shape).sum(1)
    assert energy.sum((1, 2)).allclose(torch.tensor(2.0))
    assert second.weight.var().item() == pytest.approx(2 / 500, rel=0.1)
    # Where a unit looks: the mean place of its weights' squares, and how far they lie from there.
    height, width = image_shape[1:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    row, column = ((energy * place).sum((1, 2)) / 2 for place in (rows, columns))
    apart = (rows - row.view(-1, 1, 1)) ** 2 + (columns - column.view(-1, 1, 1)) ** 2
    distance = (energy * apart).sum((1, 2)).div(2).sqrt()
    longest = max(height, width)
    assert 0.02 * longest < distance.min() < distance.median() < 0.15 * longest
    assert distance.max() < 0.3 * longest
    assert row.std() > height / 5  # evenly over the image: sides / sqrt(12) apart
    assert column.std() > width / 5


@pytest.mark.parametrize("image_shape", [(1, 1, 1), (1, 2, 3)])
def test_local_units_see_something_of_the_smallest_images_too(image_shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    first = MLP([500], init="local", image_shape=image_shape).layers[0]
    assert isinstance(first, nn.Linear)
    assert first.weight.detach().square().sum(1).allclose(torch.tensor(2.0))


def test_default_initialisation_is_torchs_own() -> None:
    torch.manual_seed(0)
    model = MLP([5], init="default")
    torch.manual_seed(0)
    assert torch.equal(model.layers[0].weight, nn.Linear(784, 5).weight)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "error"), [({"activation": "rleu"}, KeyError), ({"norm": "x"}, KeyError), ({"init": "x"}, ValueError)]
)
def test_unknown_names_are_refused(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=r"rleu|x"):
        MLP([3], **arguments)
