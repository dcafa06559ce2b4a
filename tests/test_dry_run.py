"""What fails only when it is used is found before the run is announced, and named by its key."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch.loggers import Logger
from torch import Tensor, nn

from fashion_mlp.build import build_classifier
from fashion_mlp.dry_run import dry_run
from fashion_mlp.runtime.errors import UserError
from tests.conftest import Compose, Run


@pytest.fixture
def own(tmp_path: Path) -> str:
    """Return a flag that adds a directory of configurations of one's own."""
    files = {
        "data/bare": "_target_: fashion_mlp.data.SyntheticDataModule\nroot: drawn\ntrain_size: 600\ntest_size: 200\n"
        "val_size: 100\n",
        "optimizer/nadam": "_target_: torch.optim.NAdam\n_partial_: true\n",
        "optimizer/typo": "_target_: torch.optim.NAdam\n_partial_: true\nlearning_rate: 0.1\n",
        "optimizer/lbfgs": "_target_: torch.optim.LBFGS\n_partial_: true\n",
        "optimizer/sparse": "_target_: torch.optim.SparseAdam\n_partial_: true\n",
        "optimizer/none": "_target_: builtins.list\n_partial_: true\n",
        "scheduler/own": "_target_: torch.optim.lr_scheduler.StepLR\n_partial_: true\n",
        "model/wide": "_target_: torch.nn.Flatten\nimage_shape: 0\nnum_classes: 0\n",
    }
    for name, content in files.items():
        path = tmp_path / "own" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return f"--config-dir={tmp_path / 'own'}"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer=typo", "optimizer: TypeError: NAdam.__init__() got an unexpected keyword argument 'learning_rate'"),
        ("optimizer=lbfgs", "optimizer: TypeError: LBFGS.step() missing 1 required positional argument: 'closure'"),
        ("optimizer=sparse", "optimizer: RuntimeError: SparseAdam does not support dense gradients"),
        ("optimizer=none", "optimizer: not an optimizer but list. Expected one of torch.optim"),
        ("scheduler=own", "scheduler: not a schedule. Expected a function such as fashion_mlp.schedulers.step"),
        ("trainer._target_=builtins.dict", "trainer._target_=builtins.dict: not a Trainer. Expected lightning.Trainer"),
        ("+logger.mine._target_=builtins.dict", "logger: dict is not a logger"),
        ("data._target_=builtins.dict", "data._target_=builtins.dict: not an ImageDataModule"),
    ],
)
def test_a_part_that_cannot_be_used_is_named_before_the_run(
    run_here: Run, tmp_path: Path, own: str, override: str, message: str
) -> None:
    done = run_here(own, override)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {message}")
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


@pytest.mark.parametrize("override", ["optimizer=nadam", "data=bare"])
def test_keys_that_a_file_leaves_out_have_the_defaults_of_the_class(run_as_typed: Run, own: str, override: str) -> None:
    small = "trainer=cpu", "trainer.max_epochs=1", "model.hidden_sizes=[32]", "callbacks=lean"
    data = () if override == "data=bare" else ("data=synthetic", "data.train_size=600", "data.val_size=100")
    done = run_as_typed(own, *small, *data, override)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("pct_start", ["0.05", "0", "0.999"])
def test_onecycle_works_at_the_edges_of_its_range(run_here: Run, pct_start: str) -> None:
    """Of the 20 steps the rise has one for 0.05, by which PyTorch divides by zero."""
    done = run_here("scheduler=onecycle", f"scheduler.pct_start={pct_start}")
    assert (done.returncode, done.stderr) == (0, "")


class Wide(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1).float()


class Offline(Logger):
    name = version = None

    @property
    def experiment(self) -> None:
        raise ConnectionError("no key.")

    def log_metrics(self, metrics: object, step: int | None = None) -> None: ...

    def log_hyperparams(self, params: object) -> None: ...


def test_a_network_of_the_wrong_shape_and_a_logger_without_a_key_are_named(compose_small: Compose) -> None:
    from fashion_mlp.data import SyntheticDataModule

    cfg = compose_small("run", "model.dropout=0.5", "model.norm=batch")
    classifier = build_classifier(cfg, SyntheticDataModule(train_size=600, test_size=200, val_size=100))
    state = {name: value.clone() for name, value in classifier.state_dict().items()}
    random = torch.get_rng_state()
    dry_run(classifier, (1, 28, 28), [])
    assert all(torch.equal(state[name], value) for name, value in classifier.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert classifier.model.training

    with pytest.raises(UserError, match=r"logger \(Offline\): ConnectionError: no key. HYDRA_FULL_ERROR=1 prints"):
        dry_run(classifier, (1, 28, 28), [Offline()])
    classifier.model = Wide()
    with pytest.raises(
        UserError, match=r"model: returns \[2, 784\] for two images. Expected logits of shape \[2, 10\]"
    ):
        dry_run(classifier, (1, 28, 28), [])
