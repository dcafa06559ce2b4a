"""Every YAML file composes, and the schema says what the code says."""

import inspect
import math
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Literal, get_args

import pytest
from annotated_types import Len
from hydra import compose, initialize_config_dir
from hydra.utils import get_method, instantiate
from lightning import Trainer
from omegaconf import DictConfig, ListConfig, OmegaConf
from pydantic import Field

from fashion_mlp.config.check_config import describe, section_problems
from fashion_mlp.config.schema import (
    SCHEMAS,
    BelowOne,
    Count,
    Fraction,
    MLPConfig,
    Positive,
    SearchConfig,
    Section,
    TrainerConfig,
)
from fashion_mlp.models import mlp
from tests.conftest import CONF, RunCommand

OPTIONS = sorted(
    f"{path.parent.relative_to(CONF)}={path.stem}"
    for path in CONF.glob("*/*.yaml")
    if not path.stem.startswith("_") and path.parent.name != "hydra"
)


@cache
def composed(option: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", overrides=[option])


@pytest.mark.parametrize("option", OPTIONS)
def test_each_option_composes_and_its_targets_exist(option: str) -> None:
    group, _, name = option.partition("=")
    cfg = composed(option)
    if group in ("experiment", "sweep"):
        return  # presets of other options
    targets = [cfg[group]] if "_target_" in cfg[group] else [node for node in cfg[group].values() if node]
    assert targets or name == "none"
    for node in targets:
        assert callable(get_method(node["_target_"]))


def test_the_defaults_are_the_documented_ones() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train")
    assert (cfg.seed, cfg.data.batch_size, cfg.data.num_workers, cfg.data.val_size) == (42, 64, 0, 5000)
    assert (list(cfg.model.hidden_sizes), cfg.optimizer.lr, cfg.trainer.max_epochs) == ([512, 512], 1e-3, 5)


def test_options_do_not_repeat_inherited_values() -> None:
    for heir, parent in (("data/fashion_mnist", "data/_base"), ("optimizer/adamw", "optimizer/adam")):
        own, inherited = (OmegaConf.load(CONF / f"{name}.yaml") for name in (heir, parent))
        assert isinstance(own, DictConfig)
        assert isinstance(inherited, DictConfig)
        repeated = [key for key in own if key != "defaults" and own[key] == inherited.get(key)]
        assert repeated == []


def nodes(cfg: DictConfig) -> Iterator[DictConfig]:
    """Yield each part of a configuration that is built by a class or function of this project."""
    if str(cfg.get("_target_")).startswith("fashion_mlp."):
        yield cfg
    for name in cfg:
        if not OmegaConf.is_interpolation(cfg, str(name)) and isinstance(cfg.get(name), DictConfig):
            yield from nodes(cfg[name])


def defaults(target: Any) -> dict[str, Any]:
    """Return the defaults of a function, or of a class and those that it hands other arguments to."""
    found: dict[str, Any] = {}
    for each in reversed(target.__mro__) if isinstance(target, type) else [target]:
        own = not isinstance(target, type) or "__init__" in vars(each)
        if own and each.__module__.startswith("fashion_mlp."):
            parameters = inspect.signature(each).parameters.values()
            found |= {entry.name: entry.default for entry in parameters if entry.default is not entry.empty}
    return found


@pytest.mark.parametrize("option", OPTIONS)
def test_defaults_in_code_and_configuration_are_equal(option: str) -> None:
    group = option.partition("=")[0]
    if group in ("experiment", "sweep") or option == "model=linear":
        return  # presets, whose values differ on purpose
    for node in nodes(composed(option)[group]):
        for name, default in defaults(get_method(node["_target_"])).items():
            if name not in node or OmegaConf.is_interpolation(node, name) or isinstance(node[name], DictConfig):
                continue  # not a value, or what is elsewhere
            value = node[name]
            assert (tuple(value) if isinstance(value, ListConfig) else value) == default, f"{group}.{name}"


def test_the_data_root_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train")
    monkeypatch.setenv("FASHION_MLP_DATA", "/elsewhere")
    assert cfg.data.root == "/elsewhere"
    monkeypatch.delenv("FASHION_MLP_DATA")
    assert cfg.data.root == "data"


def test_the_trainers_arguments_are_those_of_lightning() -> None:
    parameters = dict(inspect.signature(Trainer.__init__).parameters)
    for name in ("self", "callbacks", "logger"):
        del parameters[name]
    assert OmegaConf.load(CONF / "trainer/_lightning.yaml") == {name: p.default for name, p in parameters.items()}
    assert TrainerConfig.model_fields.keys() - {"target"} == parameters.keys()


def choices(name: str) -> tuple[str, ...]:
    return get_args(MLPConfig.model_fields[name].annotation)


def test_choices_in_the_schema_are_those_of_the_model() -> None:
    assert set(choices("activation")) == set(mlp.ACTIVATIONS)
    assert set(choices("norm")) == set(mlp.NORMS)
    for init in choices("init"):
        instantiate({"_target_": "fashion_mlp.models.MLP", "hidden_sizes": [4], "init": init})


@pytest.mark.parametrize(("target", "schema"), SCHEMAS.items())
def test_the_keys_in_the_schema_are_arguments(target: str, schema: type[Section]) -> None:
    function = get_method(target)
    accepted: set[str] = set()
    for each in function.__mro__ if isinstance(function, type) else [function]:
        accepted |= inspect.signature(each).parameters.keys()
    names = {field.alias or name for name, field in schema.model_fields.items()} - {"_target_", "_partial_"}
    assert names - accepted - {"compile"} == set() or schema is SearchConfig


def test_the_help_lists_the_options_of_each_group(run_in_process: RunCommand) -> None:
    lines = run_in_process("--help").stdout.splitlines()
    assert "  data        fashion_mnist, image_csv, image_folder, kmnist, mnist, synthetic" in lines
    groups = {path.parent.name for path in CONF.glob("*/*.yaml")}
    assert {line.split()[0] for line in lines if line.startswith("  ")} == groups


def test_a_data_module_without_a_schema_has_the_arguments_of_all(run_in_process: RunCommand) -> None:
    own = "data=kmnist", "data._target_=my_project.Images"
    failed = run_in_process(*own, "data.batch_size=0", "data.mirrors=5", "+data.size=large")
    assert failed.stderr == "error: data.batch_size=0: invalid value. Expected an integer of at least 1\n"


class Example(Section):
    """One field of each kind."""

    count: Count
    probability: BelowOne
    size: Positive | Fraction | None
    sizes: list[Positive]
    pair: Annotated[list[BelowOne], Len(2, 2)]
    choice: Literal["a", "b"] | None
    time: Annotated[str, Field(description="a time")]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("count", "an integer of at least 0"),
        ("probability", "a number of at least 0 and less than 1"),
        ("size", "an integer of at least 1, a number greater than 0 and at most 1 or null"),
        ("sizes", "a list in brackets, each an integer of at least 1"),
        ("pair", "a list in brackets of 2, each a number of at least 0 and less than 1"),
        ("choice", "a, b or null"),
        ("time", "a time"),
    ],
)
def test_a_field_is_described(name: str, expected: str) -> None:
    assert describe(Example.model_json_schema()["properties"][name]) == expected


@pytest.mark.parametrize("value", [-0.1, 1, math.nan, math.inf, 1e-50, True, "0.5", None])
def test_a_number_out_of_range_is_refused(value: Any) -> None:
    assert list(section_problems(Example, {"probability": value})) == ["probability"]
    assert section_problems(Example, {"probability": 0.5}) == {}
