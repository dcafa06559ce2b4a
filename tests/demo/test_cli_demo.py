"""Tests of `fashion-mlp demo` until it serves the page."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fashion_mlp.cli.commands import demo
from fashion_mlp.cli.main import main

uvicorn = pytest.importorskip("uvicorn", reason="needs the extra [demo]")


@pytest.fixture(autouse=True)
def _restore_sigterm() -> Iterator[None]:
    """Restore the handler of SIGTERM."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def gradio_directories(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Interrupt the server when it starts, and return the temporary directories of Gradio."""
    directories = []

    def interrupt(self: object, sockets: list[socket.socket]) -> None:
        directories.append(Path(os.environ["GRADIO_TEMP_DIR"]))
        assert directories[-1].is_dir()
        raise KeyboardInterrupt

    monkeypatch.setattr(uvicorn.Server, "run", interrupt)
    return directories


def test_address_is_printed_and_ctrl_c_ends_the_server(
    checkpoint: Path, data_root: Path, gradio_directories: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="130"):
        main(["demo", str(checkpoint), f"data.root={data_root}"])
    printed = capsys.readouterr()
    (line,) = printed.out.splitlines()
    assert line.startswith("http://127.0.0.1:")
    assert printed.err == ""
    (directory,) = gradio_directories
    assert not directory.exists()


@pytest.mark.usefixtures("gradio_directories")
def test_page_without_data_has_no_test_images(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="130"):
        main(["demo", str(checkpoint), f"data.root={tmp_path / 'none'}"])
    reason, address = capsys.readouterr().out.splitlines()
    assert reason.startswith("no test images to show: ")
    assert address.startswith("http://")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data.root=x"], "data.root=x: no such checkpoint"),
        (["gone.ckpt"], "gone.ckpt: no such checkpoint"),
        (["CKPT", "--host", ""], "--host: is empty. Type --host 127.0.0.1 for this machine only, 0.0.0.0 for every"),
        (["CKPT", "--host", " "], "--host: is empty. Type --host 127.0.0.1 for this machine only, 0.0.0.0 for every"),
        (["CKPT", "--host", "192.0.2.1"], "demo: cannot listen on 192.0.2.1, port 0 ("),
        (["CKPT", "--host", "no host"], "demo: cannot listen on no host, port 0 ("),
        (["CKPT", "--port", "USED"], "demo: cannot listen on 127.0.0.1, port USED ("),
    ],
)
def test_errors_are_one_line(checkpoint: Path, arguments: list[str], message: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as used_port:
        words = {"CKPT": str(checkpoint), "USED": str(used_port.getsockname()[1])}
        with pytest.raises(SystemExit) as caught:
            main(["demo", *(words.get(word, word) for word in arguments)])
        assert str(caught.value).startswith(f"error: {message.replace('USED', words['USED'])}")
        assert len(str(caught.value).splitlines()) == 1


def test_invalid_port_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["demo", "x.ckpt", "--port", "65536"])
    assert "--port: '65536': invalid value. Expected an integer of at least 1 and at" in capsys.readouterr().err


def test_missing_extra_is_explained(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    with pytest.raises(
        SystemExit, match=r"^error: demo: package missing. Type python -m pip install -e '\.\[demo\]', "
    ):
        main(["demo", str(checkpoint)])
