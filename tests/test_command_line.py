"""Mistakes are told in one line each, all together, before anything is made or loaded."""

from pathlib import Path

import pytest

from fashion_mlp.command_line import check
from fashion_mlp.errors import UserError
from tests.conftest import CONF, Run

MISTAKES = {
    "data.batch_size=0": "data.batch_size=0: must be at least 1",
    "data.batch_size=abc": "data.batch_size=abc: must be an integer",
    "data.batch_size=1.5": "data.batch_size=1.5: must be an integer",
    "data.batchsize=32": "data.batchsize=32: no such key; did you mean data.batch_size?",
    "data.val_size=60000": "data.val_size=60000: must be at least 0 and less than 60000",
    "model.dropout=1.5": "model.dropout=1.5: must be at least 0 and less than 1",
    "model.activation=rleu": "model.activation=rleu: no such choice; did you mean relu?",
    "model.hidden_sizes=[256,0]": "model.hidden_sizes=[256,0]: must be at least 1",
    "model.hidden_sizes=512": "model.hidden_sizes=512: must be a list in brackets, each an integer",
    "model.hidden_sizes=[256": "model.hidden_sizes=[256: cannot be read",
    "model.compile=maybe": "model.compile=maybe: must be true or false",
    "optimizer.lr=-1": "optimizer.lr=-1: must be greater than 0",
    "optimizer.lr=nan": "optimizer.lr=nan: must be greater than 0",
    "optimizer.lr=fast": "optimizer.lr=fast: must be a number",
    "optimizer.betas=[0.9,1]": "optimizer.betas=[0.9,1]: must be at least 0 and less than 1",
    "optimizer.betas=[0.9]": "optimizer.betas=[0.9]: must be a list in brackets of 2, each a number",
    "optimizer.momentum=0.9": "optimizer.momentum=0.9: no such key",
    "optimizer=sdg": "optimizer=sdg: no such option; did you mean sgd? (there are adam, adamw, rmsprop, sgd)",
    "optimizer={lr:1}": "optimizer={lr:1}: no such option",
    "optimzer=sgd": "optimzer=sgd: no such key; did you mean optimizer?",
    "lr=0.1": "lr=0.1: no such key; did you mean optimizer.lr?",
    "hiden_sizes=[1]": "hiden_sizes=[1]: no such key; did you mean model.hidden_sizes?",
    "zzz=1": "zzz=1: no such key; --cfg job shows all",
    "+optimizer.momentun=1": "+optimizer.momentun=1: no such key",
    "+foo=1": "+foo=1: no such key",
    "optimizer=sgd,adam": "optimizer=sgd,adam: several values are a sweep, which needs -m",
    "seed=-1": "seed=-1: must be at least 0 and less than 4294967296",
    "trainer.max_epochs=many": "trainer.max_epochs=many: must be an integer or null",
    "trainer.max_epoch=3": "trainer.max_epoch=3: no such key; did you mean trainer.max_epochs?",
    "trainer.accelerator=cup": "trainer.accelerator=cup: no such choice; did you mean cpu?",
    "ckpt_path=gone.ckpt": "ckpt_path=gone.ckpt: there is no such file",
    "hydra.run.dri=x": "hydra.run.dri=x: Could not override",
    "hydra/launcher=jolib": "hydra/launcher=jolib: ",
    "data.root.x=1": "data.root.x=1: no such key; did you mean data.root?",
    "model.hidden_sizes.7=3": "model.hidden_sizes.7=3: no such key",
    "~optimizer.lr": "~optimizer.lr: ",
    "model=null": "model=None: ",
    "model.width=512": "model.width=512: no such key",
    "test=maybe": "test=maybe: must be true or false",
    "data.augment.flop=0.5": "data.augment.flop=0.5: no such key; did you mean data.augment.flip?",
    "data.augment.flip=50": "data.augment.flip=50: must be at least 0 and at most 1",
    "data.augment.shift=0.5": "data.augment.shift=0.5: must be an integer",
    "data.augment=flip": "data.augment=flip: must be set by its keys: flip, shift, ",
}
COMBINATIONS = {
    "data=synthetic data.val_size=12000": "data.val_size=12000: must be less than data.train_size=12000",
    "data=image_csv data.img_dir=.": "data.annotations_file: has no value; set it with data.annotations_file=...",
    "data=image_folder data.img_dir=gone": "data.img_dir=gone: there is no such folder",
    "data=image_folder data.img_dir=. data.mode=grey": "data.mode=grey: no such choice; did you mean gray?",
    "scheduler=plateau data.val_size=0": "use scheduler.monitor=train/loss",
    "scheduler=cosine trainer.max_epochs=-1": "trainer.max_epochs=-1: a schedule needs an end",
    "data.augment.off_last=0.1 trainer.max_epochs=-1": "data.augment.off_last needs an end",
    "data.augment.shift=28": "data.augment.shift=28: must be less than the images' sides, [28,28]",
    "data=image_folder data.img_dir=. data.image_size=[9,28] data.augment.shift=9": "the images' sides, [9,28]",
    "optimizer=sgd optimizer.nesterov=true": "needs optimizer.momentum greater than 0",
    "trainer.precision=16-mixed trainer.gradient_clip_val=1": "needs optimizer.fused=false",
    "model.norm=batch data.batch_size=1": "needs data.batch_size greater than 1",
    "-m trainer=ddp seed=1,2": "trainer.devices=2 trainer.num_nodes=1: in a multirun each process would start",
    "-m trainer.devices=[0,1] seed=1,2": "in a multirun each process would start the whole sweep again",
    "trainer=ddp trainer.strategy=ddp_spawn": "trainer.strategy=ddp_spawn: ",
    "trainer=cpu trainer.sync_batchnorm=true": "trainer.sync_batchnorm=true: works on GPUs only",
    "trainer=ddp trainer.num_nodes=2": "start the run on each machine by torchrun or srun",
    "model.hidden_sizes.0=-5": "model.hidden_sizes=[-5,512]: must be at least 1",
    "-m model.hidden_sizes.0=5,-5": "model.hidden_sizes=[-5,512]: must be at least 1",
    "-m optimizer.lr=1e-3,-1": "optimizer.lr=-1: must be greater than 0",
    "-m optimizer.lr=interval(-1,1)": "optimizer.lr=-1: must be greater than 0",
    "-m optimizer=sgd,adm": "optimizer=adm: no such option; did you mean adam?",
    "-m optimizer=sgd,adam optimizer.momentum=0.5": "optimizer.momentum=0.5: no such key",
    "-m model.width=256,512": "model.width=256,512: no such key",
    "sweep=optna": "sweep=optna: no such option; did you mean optuna?",
    "sweep=optuna hydra.sweeper.n_trails=5": "Could not override 'hydra.sweeper.n_trails'",
    "sweep=optuna hydra.sweeper.n_trials=0": "hydra.sweeper.n_trials=0: must be at least 1",
    "sweep=optuna hydra.sweeper.pruner=medan": "hydra.sweeper.pruner=medan: no such choice; did you mean median?",
    "sweep=optuna optimizer.lrr=interval(1,2)": "optimizer.lrr=interval(1,2): no such key; did you mean optimizer.lr?",
    "sweep=optuna optimizer.lr=interval(-1,1)": "optimizer.lr=-1: must be greater than 0",
    "sweep=optuna data.batch_size=interval(32,32)": "data.batch_size=32: must be an integer",
    "sweep=optuna model.width=range(0,9)": "model.width=0: must be at least 1",
    "sweep=optuna model.depth=choice(two)": "model.depth=two: must be an integer",
    "sweep=optuna model.width=512": "model.width=512: no such key",
    "sweep=optuna data.val_size=0": "data.val_size=0: a search chooses by val/acc",
    "sweep=optuna model=linear": "write model.hidden_sizes=[] to have none",
    "sweep=optuna trainer=ddp": "use one device a job",
}
FINE = [
    "",
    "optimizer=sgd optimizer.lr=0.1",
    "model=linear data=synthetic data.val_size=0",
    "model.hidden_sizes=[256,128] optimizer.lr=3e-4 data.batch_size=128 trainer.max_epochs=20",
    "model.hidden_sizes.0=7",
    "data.augment.flip=0.5 data.augment.shift=1 data.augment.erasing=0.25 data.augment.mixup=0.2",
    "trainer.gradient_clip_val=0.5 trainer.limit_train_batches=0.1 trainer.max_time=00:00:01:00",
    "scheduler=plateau scheduler.monitor=train/loss data.val_size=0",
    "data=image_folder data.img_dir=. data.val_size=0.25",
    "data=image_csv data.annotations_file=. data.img_dir=.",
    "-m data=image_csv data.annotations_file=. data.img_dir=. data.batch_size=3,4",
    "experiment=quickstart seed=0",
    "~callbacks.progress_bar +callbacks.extra=null",
    "hydra.run.dir=somewhere",
    "--config-dir . optimizer=sgd",
    "-m optimizer=sgd,adam optimizer.lr=1e-2,1e-3 seed=range(3)",
    "sweep=optuna hydra.sweeper.n_trials=50 hydra.sweeper.n_jobs=2 hydra.sweep.dir=somewhere",
    "sweep=optuna optimizer=sgd,adam optimizer.lr=tag(log,interval(1e-3,1e-1)) model.width=choice(64,128)",
    "-m sweep=optuna model=linear model.hidden_sizes=[] experiment=fast",
    "--help",
]


@pytest.mark.parametrize("typed", [*MISTAKES, *COMBINATIONS])
def test_a_mistake_is_named_with_its_remedy(typed: str) -> None:
    with pytest.raises(UserError) as caught:
        check(typed.split(), CONF)
    assert (MISTAKES | COMBINATIONS)[typed] in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("typed", FINE)
def test_a_right_command_line_passes(typed: str) -> None:
    check(typed.split(), CONF)


def test_all_mistakes_are_reported_together() -> None:
    typed = "data.batch_size=0 data.val_size=60000 model.dropout=1.5 optimizer.lr=-1 model.activation=rleu seed"
    with pytest.raises(UserError) as caught:
        check(typed.split(), CONF)
    assert len(str(caught.value).splitlines()) == 6


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fashion_mlp.validation._may_have_gpu", lambda: False)
    with pytest.raises(UserError, match=r"trainer.accelerator=gpu: this machine has no GPU; use trainer=auto"):
        check(["trainer=gpu"], CONF)
    monkeypatch.setattr("fashion_mlp.validation._may_have_gpu", lambda: True)
    check(["trainer=gpu"], CONF)


def test_mps_elsewhere_than_on_apples_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(UserError, match=r"trainer.accelerator=mps: only Apple's machines"):
        check(["trainer=mps"], CONF)


def test_a_folder_that_holds_a_run_is_not_taken_again(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match=r"holds a run already"):
        check([f"hydra.run.dir={tmp_path}"], CONF)


def test_only_the_first_rank_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkpoints").mkdir()  # made by the first rank, as the other ranks find it
    monkeypatch.setenv("LOCAL_RANK", "1")
    check([f"hydra.run.dir={tmp_path}"], CONF)


def test_as_the_user_sees_it(run_train: Run, tmp_path: Path) -> None:
    done = run_train("optimizer.lr=-1", "model.activation=rleu")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "error: optimizer.lr=-1: must be greater than 0",
        "error: model.activation=rleu: no such choice; did you mean relu? "
        "(there are elu, gelu, leaky_relu, relu, selu, sigmoid, silu, tanh)",
    ]
    assert list(tmp_path.iterdir()) == []
    with_traceback = run_train("optimizer.lr=-1", HYDRA_FULL_ERROR="1")
    assert with_traceback.returncode == 1
    assert "Traceback" in with_traceback.stderr


@pytest.mark.parametrize("typed", ["--help", "--cfg job", "optimizer.lrr=1"])
def test_torch_is_not_loaded_for_what_runs_nothing(run_train: Run, typed: str) -> None:
    done = run_train(*typed.split(), PYTHONPROFILEIMPORTTIME="1")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time")}
    assert "hydra" in imported
    assert not imported & {"torch", "lightning", "numpy"}
