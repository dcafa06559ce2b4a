"""The mean of probabilities over the views of an image."""

import torch
from torch import Tensor, nn

from fashion_mlp.models import MLP, TTA

IMAGE = torch.tensor([[[[1, 2, 3], [4, 5, 6]]]], dtype=torch.uint8)


def test_the_views_are_translated_and_mirrored() -> None:
    shifted = [
        [[1, 2, 3], [4, 5, 6]],
        [[0, 1, 2], [0, 4, 5]],
        [[2, 3, 0], [5, 6, 0]],
        [[0, 0, 0], [1, 2, 3]],
        [[4, 5, 6], [0, 0, 0]],
    ]
    mirrored = [
        [[3, 2, 1], [6, 5, 4]],
        [[0, 3, 2], [0, 6, 5]],
        [[2, 1, 0], [5, 4, 0]],
        [[0, 0, 0], [3, 2, 1]],
        [[6, 5, 4], [0, 0, 0]],
    ]
    expected = {(False, True): shifted, (True, True): shifted + mirrored, (True, False): [shifted[0], mirrored[0]]}
    for (flip, shift), pixels in expected.items():
        seen = list(TTA(nn.Identity(), hflip=flip, translate=shift).views(IMAGE))
        assert [view[0, 0].tolist() for view in seen] == pixels
        assert all(view.dtype == torch.uint8 for view in seen)


def test_colours_keep_their_shape() -> None:
    assert {view.shape for view in TTA(nn.Identity()).views(torch.zeros(5, 3, 20, 10))} == {(5, 3, 20, 10)}


def test_the_mean_is_the_same_for_an_image_and_its_mirror_image() -> None:
    images = torch.randint(0, 256, (6, 1, 28, 28), dtype=torch.uint8)
    model = TTA(MLP([16]))
    assert torch.allclose(model(images), model(images.flip(-1)), atol=1e-5)
    assert not torch.allclose(model.model(images), model.model(images.flip(-1)), atol=1e-2)


def test_the_probabilities_of_views_are_averaged() -> None:
    class BrightCorner(nn.Module):
        """Sure of class 1 if the upper left pixel is bright, else of class 0."""

        def forward(self, images: Tensor) -> Tensor:
            bright = images[:, 0, 0, 0] > 100
            return torch.stack([~bright, bright], 1) * 100.0

    images = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    images[0, 0, 0, 0] = 255  # in one of the ten views
    assert torch.allclose(TTA(BrightCorner())(images).exp(), torch.tensor([[0.9, 0.1]]))
