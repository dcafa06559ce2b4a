"""`fashion-mlp demo` as its user types it, but for the serving."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fashion_mlp.cli import demo
from fashion_mlp.cli.main import main
from fashion_mlp.runtime.errors import UserError

uvicorn = pytest.importorskip("uvicorn", reason="needs the extra [demo]")


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Give SIGTERM back its meaning."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def folders(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Let Ctrl-C end the server as soon as it runs; return the folders that Gradio had."""
    seen = []

    def interrupted(self: object, sockets: list[socket.socket]) -> None:
        seen.append(Path(os.environ["GRADIO_TEMP_DIR"]))
        assert seen[-1].is_dir()
        raise KeyboardInterrupt

    monkeypatch.setattr(uvicorn.Server, "run", interrupted)
    return seen


def test_it_prints_its_address_and_ctrl_c_ends_it(
    checkpoint: Path, data_root: Path, folders: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="130"):
        main(["demo", str(checkpoint), f"data.root={data_root}"])
    printed = capsys.readouterr()
    (line,) = printed.out.splitlines()
    assert line.startswith("http://127.0.0.1:")
    assert printed.err == ""
    (folder,) = folders
    assert not folder.exists()


@pytest.mark.usefixtures("folders")
def test_without_the_data_it_serves_what_is_uploaded(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="130"):
        main(["demo", str(checkpoint), f"data.root={tmp_path / 'none'}"])
    reason, address = capsys.readouterr().out.splitlines()
    assert reason.startswith("run/best: no test images to show (")
    assert address.startswith("http://")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["data.root=x"], "CKPT: name a checkpoint to try"),
        (["gone.ckpt"], "gone.ckpt: no such checkpoint"),
        (["CKPT", "CKPT"], "CKPT: the same checkpoint is named twice"),
        (["CKPT", "--host", ""], "--host: is empty; type --host 127.0.0.1 for this machine only, 0.0.0.0 for every"),
        (["CKPT", "--host", " "], "--host: is empty; type --host 127.0.0.1 for this machine only, 0.0.0.0 for every"),
        (
            ["CKPT", "--host", "192.0.2.1"],
            "demo: cannot listen on 192.0.2.1, any port from 7860 to 7959 (",
        ),
        (["CKPT", "--host", "no host"], "demo: cannot listen on no host, any port from 7860 to 7959 ("),
        (["CKPT", "--port", "TAKEN"], "demo: cannot listen on 127.0.0.1, port TAKEN ("),
    ],
)
def test_mistakes_are_told_in_one_line(checkpoint: Path, typed: list[str], message: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = {"CKPT": str(checkpoint), "TAKEN": str(taken.getsockname()[1])}
        with pytest.raises(SystemExit) as ended:
            main(["demo", *(words.get(word, word) for word in typed)])
        assert str(ended.value).startswith(f"error: {message.replace('TAKEN', words['TAKEN'])}")
        assert len(str(ended.value).splitlines()) == 1


def test_a_port_that_cannot_be_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["demo", "x.ckpt", "--port", "65536"])
    assert "argument --port: 65536 is not at most 65535" in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"^error: demo: needs python -m pip install -e '\.\[demo\]'$"):
        main(["demo", str(checkpoint)])


def test_checkpoints_are_named_by_what_tells_them_apart() -> None:
    paths = [Path(f"/runs/{run}/checkpoints/best.ckpt") for run in ("2026-01-01/a", "2026-01-02/a", "2026-01-02/b")]
    assert demo.names_of(paths[1:]) == ["a/best", "b/best"]
    assert demo.names_of(paths) == ["2026-01-01/a/best", "2026-01-02/a/best", "2026-01-02/b/best"]
    with pytest.raises(UserError, match="named twice"):
        demo.names_of([paths[0], paths[0]])
