"""`fashion-mlp demo` up to the point where it serves the page."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fashion_mlp.cli import demo
from fashion_mlp.cli.main import main

uvicorn = pytest.importorskip("uvicorn", reason="needs the extra [demo]")


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Restore the handler of SIGTERM."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def directories(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Interrupt the server as soon as it runs; return the temporary directories of Gradio."""
    seen = []

    def interrupted(self: object, sockets: list[socket.socket]) -> None:
        seen.append(Path(os.environ["GRADIO_TEMP_DIR"]))
        assert seen[-1].is_dir()
        raise KeyboardInterrupt

    monkeypatch.setattr(uvicorn.Server, "run", interrupted)
    return seen


def test_address_is_printed_and_ctrl_c_ends_the_server(
    checkpoint: Path, data_root: Path, directories: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="130"):
        main(["demo", str(checkpoint), f"data.root={data_root}"])
    printed = capsys.readouterr()
    (line,) = printed.out.splitlines()
    assert line.startswith("http://127.0.0.1:")
    assert printed.err == ""
    (directory,) = directories
    assert not directory.exists()


@pytest.mark.usefixtures("directories")
def test_data_are_optional(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="130"):
        main(["demo", str(checkpoint), f"data.root={tmp_path / 'none'}"])
    reason, address = capsys.readouterr().out.splitlines()
    assert reason.startswith("no test images to show: ")
    assert address.startswith("http://")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["data.root=x"], "data.root=x: no such checkpoint"),
        (["gone.ckpt"], "gone.ckpt: no such checkpoint"),
        (["CKPT", "--host", ""], "--host: is empty. Type --host 127.0.0.1 for this machine only, 0.0.0.0 for every"),
        (["CKPT", "--host", " "], "--host: is empty. Type --host 127.0.0.1 for this machine only, 0.0.0.0 for every"),
        (
            ["CKPT", "--host", "192.0.2.1"],
            "demo: cannot listen on 192.0.2.1, any port from 7860 to 7959 (",
        ),
        (["CKPT", "--host", "no host"], "demo: cannot listen on no host, any port from 7860 to 7959 ("),
        (["CKPT", "--port", "TAKEN"], "demo: cannot listen on 127.0.0.1, port TAKEN ("),
    ],
)
def test_errors_are_one_line(checkpoint: Path, typed: list[str], message: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = {"CKPT": str(checkpoint), "TAKEN": str(taken.getsockname()[1])}
        with pytest.raises(SystemExit) as error:
            main(["demo", *(words.get(word, word) for word in typed)])
        assert str(error.value).startswith(f"error: {message.replace('TAKEN', words['TAKEN'])}")
        assert len(str(error.value).splitlines()) == 1


def test_an_invalid_port_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["demo", "x.ckpt", "--port", "65536"])
    assert "argument --port: 65536: invalid value. Expected at most 65535" in capsys.readouterr().err


def test_a_missing_extra_is_explained(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"^error: demo: package missing. Type python -m pip install -e '\.\[demo\]'$"):
        main(["demo", str(checkpoint)])
