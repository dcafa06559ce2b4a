"""Any value of any key is accepted, and the run can be built, or it is refused by name, in a few lines.

Thousands of random examples: `pytest tests/config/test_overrides_property.py --hypothesis-profile=search`.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hypothesis import event, given, strategies as st
from omegaconf import DictConfig, OmegaConf

from fashion_mlp.build.parts import build_datamodule, build_trainer, instantiate_section
from fashion_mlp.config.messages import format_value
from fashion_mlp.runtime.errors import MAX_ERRORS, UserError
from fashion_mlp.runtime.signals import GracefulStop
from tests.conftest import CONF, check

# Every option of every group that needs no other package and no GPU.
OPTIONS = [
    [],
    ["model=linear", "optimizer=sgd", "scheduler=cosine", "callbacks=lean"],
    ["data=synthetic", "optimizer=rmsprop", "scheduler=plateau", "logger=csv"],
    ["data=image_csv", f"data.annotations_file={__file__}", "data.img_dir=..", "optimizer=adamw", "logger=none"],
    ["data=image_folder", "data.img_dir=..", "scheduler=step", "trainer=debug", "logger=[csv,tensorboard]"],
    ["experiment=fast", "trainer=cpu"],  # has the one-cycle schedule
]
GRAMMAR = st.text(alphabet="abeinx019_-+.,:;=~@?*/\\|%${}[]()<>#'\" \t\n", max_size=12)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-3, max_value=3),
    st.integers(),
    st.sampled_from([10**20, -(10**20), 2**63, 2**63 - 1, 10**400]),
    st.floats(),
    st.sampled_from(["null", "???", "${seed}", "${nothing}", "${oc.env:NOTHING}", "1e-3", "1,2", "range(3)", "a b"]),
    st.text(max_size=8),
    GRAMMAR,
)
VALUES = st.recursive(
    SCALARS,
    lambda values: st.one_of(
        st.lists(values, max_size=3), st.dictionaries(st.sampled_from(["a", "_target_", "lr", "0"]), values, max_size=2)
    ),
    max_leaves=4,
)


@cache
def keys(options: tuple[str, ...]) -> list[str]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return list(_keys(compose("train", overrides=list(options))))


def _keys(cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    for name in map(str, cfg):
        yield f"{prefix}{name}"
        node = cfg._get_node(name)
        if isinstance(node, DictConfig):
            yield from _keys(node, f"{prefix}{name}.")


@st.composite
def command_lines(draw: st.DrawFn) -> tuple[list[str], str]:
    """Draw a command line, and the key that it sets."""
    options = draw(st.sampled_from(OPTIONS))
    key = draw(st.sampled_from(keys(tuple(options))))
    if draw(st.integers(0, 9)) == 0:
        place = draw(st.integers(0, len(key)))
        key = key[:place] + draw(st.text(alphabet="abcxyz._", max_size=2)) + key[place + 1 :]
    prefix = draw(st.sampled_from(["", "", "", "", "+", "++", "~"]))
    value = format_value(draw(VALUES))
    quoted = draw(st.sampled_from(["{}", "{}", "'{}'", '"{}"', "[{}]"])).format(value)
    flags = draw(st.sampled_from([[], [], [], ["-m"]]))
    return [*flags, *options, f"{prefix}{key}={quoted}"], key


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("elsewhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        yield directory


@given(drawn=command_lines())
def test_any_override_is_accepted_or_refused_by_name(
    drawn: tuple[list[str], str], compose_once: None, elsewhere: Path
) -> None:
    argv, key = drawn
    try:
        cfg = check(argv)
        event("accepted")
        if cfg is not None:
            build_parts(cfg)
    except UserError as refused:
        message = str(refused)
        event("refused")
        assert len(message.splitlines()) <= MAX_ERRORS, message
        assert names(message, key), message
    assert list(elsewhere.iterdir()) == []


def names(message: str, key: str) -> bool:
    """Return True if a message names a key, or the part of the configuration that contains it."""
    parts = key.split(".")
    return any(".".join(parts[:length]) in message for length in range(1, len(parts) + 1))


def build_parts(cfg: DictConfig) -> None:
    """Build the components of a run, except for large models."""
    cfg = OmegaConf.masked_copy(cfg, [str(name) for name in cfg if name != "hydra"])
    if OmegaConf.is_interpolation(cfg, "run_dir"):
        cfg.run_dir = "run"
    weights = [torch.nn.Parameter(torch.zeros(1))]
    optimizer = instantiate_section("optimizer", cfg, object, _partial_=True)(weights)
    if cfg.scheduler:
        instantiate_section("scheduler", cfg, object, _partial_=True)(optimizer, 100)
    build_datamodule(cfg)
    build_trainer(cfg, GracefulStop(), resumed=False, has_validation=True)
    model: Any = OmegaConf.to_container(cfg.model, resolve=True)
    if sum(model["hidden_sizes"]) < 5_000:
        model.pop("compile")
        instantiate_section("model", model, torch.nn.Module)
