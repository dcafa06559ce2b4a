"""Control characters of files and names do not reach the terminal; library messages are filtered."""

import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.accelerators import MPSAccelerator
from PIL import Image

from fashion_mlp.cli.main import main
from fashion_mlp.runtime.console import printable, silence_libraries
from fashion_mlp.runtime.errors import UserError
from tests.checkpoint.test_forged_files import saved
from tests.conftest import RunCommand

RED = "\x1b[31m"
SHOWN = "\\u001b[31m"


def test_only_control_characters_are_escaped() -> None:
    assert printable(f"{RED}\x07\r\x7f\x9b\udcff") == f"{SHOWN}\\u0007\\u000d\\u007f\\u009b\\udcff"
    for text in ("two\nlines\tand a tab", "\u00e9\u00a0\u3000\u200d\U0001f45f", "back\\slash"):
        assert printable(text) == text
    assert str(UserError(f"{RED}x\r\ny")) == f"{SHOWN}x y"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Return a checkpoint with control characters in the names of a class and of the dataset, and weights of NaN."""
    data = {"name": f"mine{RED}", "option": "synthetic", "arguments": {}}
    path = saved(tmp_path / "x.ckpt", class_names=[f"hat{RED}", "sock"], data=data, model__image_shape=[1, 28, 28])
    content = torch.load(path, weights_only=True)
    content["state_dict"]["model.layers.0.weight"] = torch.full((2, 784), torch.nan)
    torch.save(content, path)
    return path


def test_commands_escape_control_characters(
    checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Image.new("L", (28, 28)).save(tmp_path / f"good{RED}.png")
    (tmp_path / f"bad{RED}.png").write_text("no picture")
    (tmp_path / "undecodable\udcff.png").write_bytes((tmp_path / f"good{RED}.png").read_bytes())
    assert main(["predict", str(checkpoint), str(tmp_path)]) == 1
    out, err = capfd.readouterr()
    assert f"good{SHOWN}.png" in out
    assert f"hat{SHOWN} nan%" in out
    assert "undecodable\\udcff.png" in out
    assert f"bad{SHOWN}.png is not an image" in err
    for arguments in (["predict", str(checkpoint), f"gone{RED}"], ["bench", f"--{RED}"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        message = f"{caught.value.code}{capfd.readouterr().err}"
        assert SHOWN in message
        assert RED not in message


def reject(name: str) -> Any:
    raise ValueError(name)


def test_json_has_no_nan(checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Image.new("L", (28, 28)).save(tmp_path / "\x7f.png")
    main(["predict", str(checkpoint), str(tmp_path / "\x7f.png"), "--json"])
    (answer,) = json.loads(capfd.readouterr().out, parse_constant=reject)
    assert answer["probability"] is None
    assert answer["class"] == f"hat{RED}"
    assert answer["image"].endswith("\x7f.png")


def test_a_run_escapes_control_characters_on_the_terminal_and_in_its_log(
    run_in_process: RunCommand, tmp_path: Path
) -> None:
    for number in range(8):
        directory = tmp_path / f"images{RED}" / f"class{number % 2}"
        directory.mkdir(parents=True, exist_ok=True)
        Image.new("L", (28, 28), 20 * number).save(directory / f"{number}.png")
    done = run_in_process(
        "data=image_folder",
        f"data.img_dir='images{RED}'",
        "data.val_size=2",
        "model.hidden_sizes=[]",
        "trainer=cpu",
        "trainer.max_epochs=1",
        "callbacks=lean",
        "logger=none",
        "hydra.run.dir=run",
    )
    assert done.returncode == 0, done.stderr
    for text in (done.stdout, (tmp_path / "run" / "train.log").read_text()):
        assert f"custom images (images{SHOWN})" in text
        assert RED not in text


def test_a_lightning_warning_is_logged_once(capfd: pytest.CaptureFixture[str]) -> None:
    handler = logging.StreamHandler(sys.stdout)
    logging.root.addHandler(handler)
    try:
        silence_libraries()
        for name in ("lightning.pytorch.trainer", "lightning.fabric.utilities", "lightning.pytorch.callbacks.timer"):
            logging.getLogger(name).warning("careful")
            logging.getLogger(name).info("for your information")
    finally:
        logging.root.removeHandler(handler)
    out, err = capfd.readouterr()
    assert out.splitlines() == ["careful", "careful", "careful", "for your information"]
    assert err == ""


def test_an_unused_gpu_causes_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MPSAccelerator, "is_available", lambda: True)
    with pytest.warns(UserWarning, match="GPU available but not used"):
        Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    with warnings.catch_warnings():
        silence_libraries()
        Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
