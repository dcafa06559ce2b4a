"""The JSON Schemas that check the files of `conf/` in editors, and the settings of the editors that refer to them."""

import json
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from jsonschema import Draft202012Validator
from omegaconf import OmegaConf
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from fashion_mlp.cli.main import main
from fashion_mlp.config.editor_schemas import editor_schemas
from tests.conftest import CONF, ROOT

SCHEMAS = {path.name: json.loads(path.read_text()) for path in sorted((ROOT / ".vscode/schemas").iterdir())}
SETTINGS = json.loads((ROOT / ".vscode/settings.json").read_text())["yaml.schemas"]
MAPPING = {path: [patterns] if isinstance(patterns, str) else patterns for path, patterns in SETTINGS.items()}
FILES = [
    path.relative_to(ROOT).as_posix() for path in sorted(CONF.rglob("*.yaml")) if path.parent.parent.name != "hydra"
]

# Files whose keys cannot be known: named callbacks and loggers, and a class without a section.
CUSTOM = ("conf/callbacks/", "conf/logger/", "conf/data/kmnist.yaml")


def errors(file: str, content: Any) -> list[str]:
    """Return the mistakes that an editor shows in a file of `conf/`."""
    (path,) = [path for path, patterns in MAPPING.items() if any(fnmatch(file, pattern) for pattern in patterns)]
    resources = [(name, DRAFT202012.create_resource(schema)) for name, schema in SCHEMAS.items()]
    validator = Draft202012Validator(SCHEMAS[Path(path).name], registry=Registry().with_resources(resources))
    return [error.message for error in validator.iter_errors(content)]


def load(text: str) -> Any:
    return OmegaConf.to_container(OmegaConf.create(text))


def test_written_schemas_are_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {f"{name}.json": schema for name, schema in editor_schemas().items()}
    assert expected == SCHEMAS, "type fashion-mlp schema"
    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)
    monkeypatch.setattr("fashion_mlp.config.command_line.CONF", tmp_path / "conf")
    assert main(["schema"]) == 0
    assert {path.name for path in (tmp_path / ".vscode/schemas").iterdir()} == set(SCHEMAS)


def test_vs_code_and_pycharm_have_the_same_mapping() -> None:
    pycharm: dict[str, list[str]] = {}
    for info in ElementTree.parse(ROOT / ".idea/jsonSchemas.xml").iter("SchemaInfo"):
        options = {option.get("name"): option.get("value") for option in info.findall("option")}
        paths = [option.get("value", "") for option in info.findall(".//Item/option[@name='path']")]
        pycharm[f"./{options['relativePathToSchema']}"] = paths
    assert pycharm == MAPPING


@pytest.mark.parametrize("file", FILES)
def test_shipped_files_are_valid(file: str) -> None:
    assert not errors(file, load((ROOT / file).read_text()))


@pytest.mark.parametrize("file", [file for file in FILES if not file.startswith(CUSTOM)])
def test_a_misspelled_key_is_found(file: str) -> None:
    assert errors(file, {**(load((ROOT / file).read_text()) or {}), "misspelled": 1})


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("conf/optimizer/mine.yaml", "{_target_: torch.optim.SGD, lr: fast}"),
        ("conf/optimizer/mine.yaml", "{_target_: torch.optim.SGD, lr: -0.1}"),
        ("conf/optimizer/mine.yaml", "{_target_: torch.optim.SGD, betas: [0.9, 0.99]}"),  # of another optimizer
        ("conf/optimizer/mine.yaml", "{_target_: torch.optim.Adam, betas: [0.9]}"),
        ("conf/model/mine.yaml", "{defaults: [mlp, _self_], activation: rleu}"),
        ("conf/model/mine.yaml", "{defaults: mlp}"),
        ("conf/data/mine.yaml", "{defaults: [mnist, _self_], augment: {flip: 0.5}}"),
        ("conf/trainer/mine.yaml", "{max_epoch: 5}"),
        ("conf/trainer/mine.yaml", "{max_time: 1h}"),
        ("conf/callbacks/mine.yaml", "{ema: {decay: 1.5}}"),
        ("conf/callbacks/mine.yaml", "{emma: {decay: 0.5}}"),
        ("conf/experiment/mine.yaml", "{optimizer: {lr: fast}}"),
        ("conf/experiment/mine.yaml", "{optimiser: {lr: 0.1}}"),
        ("conf/experiment/mine.yaml", "{callbacks: {ema: {decay: 1.5}}}"),
        ("conf/experiment/mine.yaml", "{checkpoint: {every_n_step: 5}}"),
        ("conf/experiment/mine.yaml", "{name: a/b}"),
    ],
)
def test_mistakes_are_found(file: str, text: str) -> None:
    assert errors(file, load(text))


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("conf/optimizer/mine.yaml", "{_target_: torch.optim.NAdam, lr: 0.1, momentum_decay: 0.1}"),
        ("conf/optimizer/mine.yaml", "{_target_: torch.optim.SGD, lr: '${oc.decode:${oc.env:LR}}', momentum: '???'}"),
        ("conf/optimizer/mine.yaml", "{_target_: torch.optim.Adam, betas: ['${b1}', 0.99], fused: '${f}'}"),
        ("conf/model/mine.yaml", "{defaults: [mlp, _self_], hidden_sizes: [256], pixel_bins: null}"),
        ("conf/data/mine.yaml", "{_target_: my.DataModule, anything: 1}"),
        ("conf/callbacks/mine.yaml", "{defaults: [lean, _self_], bell: {_target_: my.Bell}, gradient_norm: null}"),
        ("conf/experiment/mine.yaml", "{scheduler: null, logger: {wandb: {offline: true}}, hydra: {mode: MULTIRUN}}"),
        ("conf/experiment/mine.yaml", "{trainer: {max_time: '${time}', devices: [0, 1]}, data: '${other}'}"),
    ],
)
def test_valid_files_are_accepted(file: str, text: str) -> None:
    assert not errors(file, load(text))
