"""The keys that a search varies and those that it keeps."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from fashion_mlp.runtime.errors import UserError

optuna = pytest.importorskip("optuna", reason="the extra [sweep] is not installed")

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution  # noqa: E402

from fashion_mlp.sweep.optuna.space import Space  # noqa: E402

LAYERS = ("model.width=range(64,257,64)", "model.depth=range(1,4)")


def space(*overrides: str) -> Space:
    return Space(OverridesParser.create().parse_overrides(list(overrides)))


def test_width_is_an_ordinary_key_of_another_network() -> None:
    overrides = OverridesParser.create().parse_overrides(["model.width=choice(8,16)"])
    assert Space(overrides, has_layers=False).trial_overrides({"model.width": "8"}) == ["model.width=8"]
    with pytest.raises(UserError, match="a search needs both"):
        Space(overrides)


@pytest.mark.parametrize(
    ("sweep", "expected"),
    [
        ("interval(0, 0.5)", FloatDistribution(0, 0.5)),
        ("tag(log, interval(1e-4, 1e-2))", FloatDistribution(1e-4, 1e-2, log=True)),
        ("int(interval(16, 64))", IntDistribution(16, 64)),
        ("tag(log, int(interval(16, 64)))", IntDistribution(16, 64, log=True)),
        ("range(1, 5)", IntDistribution(1, 4)),
        ("range(64, 257, 64)", IntDistribution(64, 256, step=64)),
        ("range(5, 1, -2)", IntDistribution(3, 5, step=2)),
        ("range(0.25, 1, 0.25)", FloatDistribution(0.25, 0.75, step=0.25)),
        ("choice(64, 128)", CategoricalDistribution(["64", "128"])),
        ("sgd,adam", CategoricalDistribution(["sgd", "adam"])),
        ("choice([256], [256, 128])", CategoricalDistribution(["[256]", "[256,128]"])),
        ("shuffle(range(3))", CategoricalDistribution(["0", "1", "2"])),
    ],
)
def test_a_hydra_sweep_is_a_distribution(sweep: str, expected: BaseDistribution) -> None:
    found = space(f"key={sweep}").distributions["key"]
    if isinstance(found, CategoricalDistribution) and isinstance(expected, CategoricalDistribution):
        assert sorted(map(str, found.choices)) == sorted(map(str, expected.choices))
    else:
        assert found == expected


@pytest.mark.parametrize("sweep", ["range(3, 3)", "interval(2, 1)", "tag(log, interval(0, 1))"])
def test_a_sweep_that_cannot_be_searched_is_named(sweep: str) -> None:
    with pytest.raises(UserError, match="cannot be searched") as caught:
        space(f"optimizer.lr={sweep}")
    assert str(caught.value).startswith("optimizer.lr=")


def test_width_and_depth_make_the_hidden_sizes() -> None:
    found = space(*LAYERS)
    assert found.trial_overrides({"model.width": 128, "model.depth": 3}) == ["model.hidden_sizes=[128,128,128]"]
    assert space("model.width=choice(64,32)", "model.depth=choice(0,1)").trial_overrides(
        {"model.width": "64", "model.depth": "0"}
    ) == ["model.hidden_sizes=[]"]


@pytest.mark.parametrize("typed", ["model.hidden_sizes=[256,128]", "model.hidden_sizes=[256],[128]"])
def test_hidden_sizes_replace_width_and_depth(typed: str) -> None:
    found = space(*LAYERS, typed)
    assert not {"model.width", "model.depth"} & set(found.distributions)


def test_width_without_depth_is_refused() -> None:
    with pytest.raises(UserError, match="a search needs both"):
        space(LAYERS[0])


def test_the_command_line_adds_to_the_space_replaces_and_fixes() -> None:
    found = space(
        "optimizer.lr=interval(1e-4,1e-2)",
        "model.dropout=interval(0,0.5)",
        "sweep=optuna",
        "optimizer.lr=interval(1,2)",
        "model.dropout=0.1",
        "+trainer.extra=1,2",
    )
    assert found.distributions["optimizer.lr"] == FloatDistribution(1, 2)
    assert set(found.distributions) == {"optimizer.lr", "trainer.extra"}
    assert found.fixed == ["model.dropout=0.1", "sweep=optuna"]
    params = {"optimizer.lr": 1.5, "trainer.extra": "2"}
    assert found.trial_overrides(params) == ["optimizer.lr=1.5", "+trainer.extra=2"]


def test_numbers_are_short_and_stay_within_their_bounds() -> None:
    found = space("optimizer.lr=tag(log,interval(1e-5,1e-2))", "model.dropout=interval(0.1,0.99999)")
    assert found.trial_overrides({"optimizer.lr": 0.00123456789}) == ["optimizer.lr=0.001235"]
    assert found.trial_overrides({"model.dropout": 0.999989}) == ["model.dropout=0.999989"]
