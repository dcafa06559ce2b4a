"""Tests of the dry run, which reports parts that fail when they are used before training starts."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from lightning.pytorch.loggers import Logger
from torch import Tensor, nn
from torch.testing import assert_close

from fashion_mlp.build.dry_run import dry_run
from fashion_mlp.build.parts import build_classifier
from fashion_mlp.classifier import Classifier
from fashion_mlp.data import SyntheticDataModule
from fashion_mlp.runtime.errors import UserError
from tests.conftest import Compose, RunCommand


@pytest.fixture
def config_dir_flag(tmp_path: Path) -> str:
    """Return the flag that adds a directory with custom options."""
    files = {
        "data/bare": "_target_: fashion_mlp.data.SyntheticDataModule\nroot: drawn\ntrain_size: 600\ntest_size: 200\n"
        "val_size: 100\n",
        "optimizer/nadam": "_target_: torch.optim.NAdam\n_partial_: true\n",
        "optimizer/typo": "_target_: torch.optim.NAdam\n_partial_: true\nlearning_rate: 0.1\n",
        "optimizer/lbfgs": "_target_: torch.optim.LBFGS\n_partial_: true\n",
        "optimizer/sparse": "_target_: torch.optim.SparseAdam\n_partial_: true\n",
        "optimizer/list": "_target_: builtins.list\n_partial_: true\n",
        "scheduler/step_lr": "_target_: torch.optim.lr_scheduler.StepLR\n_partial_: true\n",
    }
    for name, content in files.items():
        path = tmp_path / "custom" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return f"--config-dir={tmp_path / 'custom'}"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer=typo", "optimizer: TypeError: NAdam.__init__() got an unexpected keyword argument 'learning_rate'"),
        ("optimizer=lbfgs", "optimizer: TypeError: LBFGS.step() missing 1 required positional argument: 'closure'"),
        ("optimizer=sparse", "optimizer: RuntimeError: SparseAdam does not support dense gradients"),
        ("optimizer=list", "optimizer: not an optimizer but list. Expected one of torch.optim"),
        ("scheduler=step_lr", "scheduler: not a schedule. Expected a function such as fashion_mlp.schedulers.step"),
        ("trainer._target_=builtins.dict", "trainer._target_=builtins.dict: not of the class Trainer"),
        ("+logger.mine._target_=builtins.dict", "logger.mine._target_=builtins.dict: not of the class Logger"),
        ("data._target_=builtins.dict", "data._target_=builtins.dict: not of the class ImageDataModule"),
    ],
)
def test_part_that_cannot_be_used_is_reported_before_the_run(
    run_small: RunCommand, tmp_path: Path, config_dir_flag: str, override: str, message: str
) -> None:
    done = run_small(config_dir_flag, override)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {message}")
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["custom"]


@pytest.mark.parametrize("override", ["optimizer=nadam", "data=bare"])
def test_keys_omitted_from_a_custom_option_have_the_defaults_of_its_class(
    run_in_process: RunCommand, config_dir_flag: str, override: str
) -> None:
    small = "trainer=cpu", "trainer.max_epochs=1", "model.hidden_sizes=[32]", "callbacks=lean"
    data = (
        ()
        if override == "data=bare"
        else ("data=synthetic", "data.root=drawn", "data.train_size=600", "data.val_size=100")
    )
    done = run_in_process(config_dir_flag, *small, *data, override)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("pct_start", ["0.05", "0", "0.999"])
def test_onecycle_accepts_the_limits_of_pct_start(run_small: RunCommand, pct_start: str) -> None:
    # With 0.05 the rise has one of the 20 steps, which makes PyTorch divide by zero.
    done = run_small("scheduler=onecycle", f"scheduler.pct_start={pct_start}")
    assert (done.returncode, done.stderr) == (0, "")


class Identity(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1).float()


class OfflineLogger(Logger):
    name = version = None

    @property
    def experiment(self) -> None:
        raise ConnectionError("no key.")

    def log_metrics(self, metrics: object, step: int | None = None) -> None: ...

    def log_hyperparams(self, params: object) -> None: ...


@pytest.fixture
def classifier(compose_small: Compose) -> Classifier:
    cfg = compose_small("run", "model.dropout=0.5", "model.norm=batch")
    return build_classifier(cfg, SyntheticDataModule(train_size=600, test_size=200, val_size=100))


def test_dry_run_changes_neither_the_classifier_nor_the_random_numbers(classifier: Classifier) -> None:
    state = deepcopy(classifier.state_dict())
    rng_state = torch.get_rng_state()
    dry_run(classifier, (1, 28, 28), [])
    assert_close(classifier.state_dict(), state, rtol=0, atol=0)
    assert torch.equal(rng_state, torch.get_rng_state())
    assert classifier.model.training


def test_wrong_output_shape_and_unreachable_logger_are_reported(classifier: Classifier) -> None:
    with pytest.raises(
        UserError, match=r"logger \(OfflineLogger\): ConnectionError: no key. HYDRA_FULL_ERROR=1 prints"
    ):
        dry_run(classifier, (1, 28, 28), [OfflineLogger()])
    classifier.model = Identity()
    with pytest.raises(UserError, match=r"model: returns Tensor \[2, 784\] for two images. Expected \[2, 10\]"):
        dry_run(classifier, (1, 28, 28), [])


def test_network_whose_checkpoints_cannot_be_loaded_is_reported(
    classifier: Classifier, caplog: pytest.LogCaptureFixture
) -> None:
    dry_run(classifier, (1, 28, 28), [])
    assert not caplog.messages
    classifier.metadata["model"] = {"_target_": "mine.Net"}
    dry_run(classifier, (1, 28, 28), [])
    assert "checkpoints cannot be loaded (refused: the configuration names 'mine.Net'. Expected a" in caplog.text
