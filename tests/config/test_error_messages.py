"""Invalid command lines and their error messages: the tables in `tests/config/error_messages/`.

A row of a table is a line that begins with `$ `, and the lines of the answer below it, in which `...` matches any
text. The program runs inside this process; a few rows are also run through a shell. After a message was reworded,
`pytest -n 0 tests/config/test_error_messages.py --update` rewrites the answers that have changed.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image

from fashion_mlp.build.parts import build_classifier
from fashion_mlp.classifier import METADATA_KEY
from fashion_mlp.cli import main
from fashion_mlp.data import SyntheticDataModule
from tests.conftest import CONF, ROOT, RunCommand

TABLES = sorted((Path(__file__).parent / "error_messages").glob("*.txt"))
THROUGH_A_SHELL = (
    "python train.py optimizer.lrr=3",
    "python train.py optimizer = sgd",
    "python train.py --multirunn seed=1,2",
    "fashion-mlp export best.ckpt --format onx",
)
Answer = Callable[[str], "subprocess.CompletedProcess[str]"]


class Row(NamedTuple):
    """A command line, and the lines of its answer."""

    typed: str
    answer: list[str]


def rows() -> Iterator[Row]:
    for table in TABLES:
        for part in re.split(r"^\$ ", table.read_text(), flags=re.MULTILINE)[1:]:
            typed, *answer = part.strip().splitlines()
            yield Row(typed, [line for line in answer if line and not line.startswith("#")])


ROWS = list(rows())


def expected(row: Row) -> str:
    """Return the pattern of a whole answer."""
    return "\n".join(".*".join(map(re.escape, line.split("..."))) for line in row.answer) + "\n"


def update(row: Row, error: str) -> None:
    """Replace the answer of a row."""
    if re.fullmatch(expected(row), error):
        return
    (table,) = (path for path in TABLES if f"$ {row.typed}\n" in path.read_text())
    before = "\n".join([f"$ {row.typed}", *row.answer, ""])
    assert before in table.read_text(), row.typed
    table.write_text(table.read_text().replace(before, f"$ {row.typed}\n{error}"))


def keys(typed: str) -> set[str]:
    """Return the keys, flags, words and files of a command line, one of which the answer must name."""
    words = shlex.split(typed.replace("python train.py", "train.py"))[1:]
    parts = {part for word in words for part in re.split(r"[=,\s]", word.lstrip("+~")) if part}
    sections = {part.rpartition(".")[0] for part in parts if part.count(".") > 1}
    return parts | sections | {part.rpartition("/")[0] for part in parts if "/" in part}


def tree(directory: Path) -> dict[Path, int]:
    """Return the modification time of each path below a directory."""
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*")}


@pytest.fixture(scope="module")
def cwd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the working directory of the commands, with 12 images, a checkpoint and other files."""
    directory = tmp_path_factory.mktemp("cwd")
    for name in ("taken/checkpoints", "hollow", "pictures", "folders/boot", "folders/shirt"):
        (directory / name).mkdir(parents=True)
    names, kinds = [f"{number}.png" for number in range(12)], ["boot", "shirt"] * 6
    for name, kind in zip(names, kinds, strict=True):
        image = Image.new("L", (28, 28))
        image.save(directory / "pictures" / name)
        image.save(directory / "folders" / kind / name)
    texts = {
        "notes.txt": "milk, bread",
        "labels.csv": "\n".join(f"{name},{kind}" for name, kind in zip(names, kinds, strict=True)),
        "one_class.csv": "\n".join(f"{name},boot" for name in names),
        "unlabelled.csv": "\n".join(names),
        "gone_pictures.csv": "\n".join(f"gone{name},boot" for name in names),
        "nothing.csv": "",
    }
    for name, text in texts.items():
        (directory / name).write_text(text)
    (directory / "latin.csv").write_bytes("0.png,café".encode("latin-1"))
    torch.save({"weight": torch.zeros(1)}, directory / "weights.pt")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=["model.hidden_sizes=[8]"])
    classifier = build_classifier(cfg, SyntheticDataModule(train_size=600, test_size=200, val_size=100))
    content = {"state_dict": classifier.state_dict(), METADATA_KEY: classifier.metadata, "epoch": 0}
    torch.save(content, directory / "best.ckpt")
    return directory


@pytest.fixture
def answer(
    run_in_process: RunCommand,
    compose_once: None,
    cwd: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Answer:
    """Return a function that runs a command line in the directory `cwd`."""
    monkeypatch.chdir(cwd)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def fashion_mlp(words: list[str]) -> "subprocess.CompletedProcess[str]":
        try:
            status = main.main(words)
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 1
            if isinstance(ended.code, str):
                print(ended.code, file=sys.stderr)  # noqa: T201, as the interpreter does
        return subprocess.CompletedProcess(words, status, *capsys.readouterr())

    def typed(line: str) -> "subprocess.CompletedProcess[str]":
        program, *words = shlex.split(line)
        return fashion_mlp(words) if program == "fashion-mlp" else run_in_process(*words[1:])

    return typed


@pytest.mark.parametrize("row", ROWS, ids=[row.typed for row in ROWS])
def test_error_message_matches_table(row: Row, answer: Answer, cwd: Path, request: pytest.FixtureRequest) -> None:
    before = tree(cwd)
    done = answer(row.typed)
    if request.config.getoption("--update"):
        update(row, done.stderr)
        return
    assert re.fullmatch(expected(row), done.stderr), done.stderr
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    assert tree(cwd) == before


def test_expected_messages_name_the_mistake_in_few_lines() -> None:
    assert len(ROWS) >= 150
    assert len({row.typed for row in ROWS}) == len(ROWS)
    for row in ROWS:
        error = "\n".join(row.answer)
        assert error.startswith("error: "), row.typed
        assert len(row.answer) <= 5, row.typed
        assert not keys(row.typed) or any(key in error for key in keys(row.typed) | {"required"}), row.typed


@pytest.mark.parametrize("typed", THROUGH_A_SHELL)
def test_error_message_in_a_shell(typed: str, tmp_path: Path) -> None:
    (row,) = (row for row in ROWS if row.typed == typed)
    command = typed.replace("train.py", str(ROOT / "train.py"))
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert re.fullmatch(expected(row), done.stderr), done.stderr
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []
