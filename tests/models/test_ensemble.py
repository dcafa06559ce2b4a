"""The mean of probabilities over networks."""

import torch

from fashion_mlp.models import MLP, Ensemble
from fashion_mlp.models.averaging import log_mean_probabilities


def test_a_constant_added_to_logits_does_not_change_the_average() -> None:
    first, second = torch.tensor([[0.8, 0.1, 0.1]]), torch.tensor([[0.2, 0.5, 0.3]])
    mean = log_mean_probabilities(torch.stack([first.log() + 3, second.log() - 40]))
    assert torch.allclose(mean.exp(), torch.tensor([[0.5, 0.3, 0.2]]))
    assert torch.allclose(mean.softmax(1), torch.tensor([[0.5, 0.3, 0.2]]))


def test_extreme_logits_remain_finite() -> None:
    mean = log_mean_probabilities(torch.tensor([[[1000.0, 0.0]], [[0.0, 1000.0]]]))
    assert torch.allclose(mean.exp(), torch.tensor([[0.5, 0.5]]))


def test_an_ensemble_averages_all_members() -> None:
    images = torch.randint(0, 256, (4, 1, 28, 28), dtype=torch.uint8)
    members = [MLP([8]), MLP([]), MLP([6], norm="layer")]
    expected = torch.stack([member(images).softmax(1) for member in members]).mean(0)
    assert torch.allclose(Ensemble(members)(images).softmax(1), expected, atol=1e-6)
