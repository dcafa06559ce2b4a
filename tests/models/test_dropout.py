"""FastDropout drops and scales units, in training only."""

import pytest
import torch
from torch import nn

from fashion_mlp.models.mlp import FastDropout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_units_are_dropped_with_the_probability_and_the_mean_stays(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    dropped = FastDropout(p)(torch.ones(1001, 101, dtype=dtype))
    assert dropped.dtype == dtype
    assert (dropped == 0).float().mean().item() == pytest.approx(p, abs=0.006)  # four standard errors
    assert dropped.max().item() == pytest.approx(1 / (1 - p), rel=0.005)


def test_each_unit_is_dropped_for_itself() -> None:
    torch.manual_seed(0)
    kept = FastDropout(0.5)(torch.ones(20_000, 8)).bool().float()
    correlations = torch.corrcoef(kept.T) - torch.eye(8)
    assert correlations.abs().max() < 0.03


def test_gradients_go_through_what_is_kept() -> None:
    units = torch.ones(64, 8, requires_grad=True)
    dropped = FastDropout(0.4)(units)
    dropped.sum().backward()
    assert units.grad is not None
    assert torch.equal(units.grad, dropped)


def test_nothing_is_dropped_in_evaluation_or_at_0() -> None:
    units = torch.randn(3, 5)
    assert torch.equal(FastDropout(0.5).eval()(units), units)
    assert torch.equal(FastDropout(0.0)(units), units)


def test_next_to_1_it_still_gives_numbers() -> None:
    assert FastDropout(0.99999999)(torch.ones(100, 100)).isfinite().all()


def test_what_is_compiled_drops_too() -> None:
    network = nn.Sequential(nn.Linear(8, 512), FastDropout(0.5))
    network.compile(backend="aot_eager")
    dropped = network(torch.ones(40, 8))
    dropped.sum().backward()
    assert (dropped == 0).float().mean().item() == pytest.approx(0.5, abs=0.02)
