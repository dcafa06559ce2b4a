"""Every YAML file composes, and the schema says what the code says."""

import inspect
import math
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_method, instantiate
from lightning import Trainer
from omegaconf import DictConfig, OmegaConf

from fashion_mlp.config import ACTIVATIONS, INITS, NORMS, TrainerConfig
from fashion_mlp.data.fashion_mnist import MIRRORS
from fashion_mlp.fields import Range
from fashion_mlp.models import mlp
from tests.conftest import CONF

OPTIONS = sorted(
    f"{path.parent.relative_to(CONF)}={path.stem}"
    for path in CONF.glob("*/*.yaml")
    if not path.stem.startswith("_") and path.parent.name != "hydra"
)


@pytest.mark.parametrize("option", OPTIONS)
def test_each_option_composes_and_names_what_exists(option: str) -> None:
    group, _, name = option.partition("=")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=[option])
    if group in ("experiment", "sweep"):
        return  # a preset of other options, whose keys are held against the schema above
    targets = [cfg[group]] if "_target_" in cfg[group] else [node for node in cfg[group].values() if node]
    assert targets or name == "none"
    for node in targets:
        assert callable(get_method(node["_target_"]))


def test_the_defaults_are_the_documented_ones() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train")
    assert (cfg.seed, cfg.data.batch_size, cfg.data.num_workers, cfg.data.val_size) == (42, 64, 0, 5000)
    assert (list(cfg.model.hidden_sizes), cfg.optimizer.lr, cfg.trainer.max_epochs) == ([512, 512], 1e-3, 5)


def test_an_option_repeats_no_value_that_it_inherits() -> None:
    for heir, parent in (("data/fashion_mnist", "data/_base"), ("optimizer/adamw", "optimizer/adam")):
        own, inherited = (OmegaConf.load(CONF / f"{name}.yaml") for name in (heir, parent))
        assert isinstance(own, DictConfig)
        assert isinstance(inherited, DictConfig)
        repeated = [key for key in own if key != "defaults" and own[key] == inherited.get(key)]
        assert repeated == []


def test_the_mirrors_are_those_of_the_data_module() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train")
    assert tuple(cfg.data.mirrors) == MIRRORS


def test_the_data_root_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train")
    monkeypatch.setenv("FASHION_MLP_DATA", "/elsewhere")
    assert cfg.data.root == "/elsewhere"
    monkeypatch.delenv("FASHION_MLP_DATA")
    assert cfg.data.root == "data"


def test_the_trainers_schema_is_lightnings_signature() -> None:
    parameters = dict(inspect.signature(Trainer.__init__).parameters)
    for name in ("self", "callbacks", "logger"):
        del parameters[name]
    schema = {field: value for field, value in vars(TrainerConfig()).items() if field != "_target_"}
    assert schema == {name: parameter.default for name, parameter in parameters.items()}


def test_the_names_in_the_schema_are_those_of_the_model() -> None:
    assert set(ACTIVATIONS) == set(mlp.ACTIVATIONS)
    assert set(NORMS) == set(mlp.NORMS)
    for init in INITS:
        instantiate({"_target_": "fashion_mlp.models.MLP", "hidden_sizes": [4], "init": init})


@pytest.mark.parametrize("path", sorted(CONF.glob("*/*.yaml")), ids=str)
def test_the_help_lists_each_option(path: Path) -> None:
    if path.parent.name == "hydra" or path.stem.startswith("_"):
        return
    text = (CONF / "hydra/help/lines.yaml").read_text()
    (line,) = (line for line in text.splitlines() if line.split()[:1] == [path.parent.name])
    assert path.stem in line.replace(",", " ").split()


def test_a_range_excludes_what_lies_outside_and_nan() -> None:
    unit = Range(ge=0, lt=1)
    assert 0 in unit
    assert 0.5 in unit
    assert 1 not in unit
    assert -0.1 not in unit
    assert math.nan not in unit
    assert math.inf not in Range(gt=0)
    assert str(unit) == "at least 0 and less than 1"
