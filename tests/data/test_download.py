"""Files are verified, fetched again where they are damaged, and fetched once where several ask."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fashion_mlp.data.download import DataFile, download_and_verify
from fashion_mlp.runtime.atomic import atomic_write
from fashion_mlp.runtime.errors import UserError
from tests.data.conftest import Site

Files = tuple[DataFile, ...]
NOBODY = "http://127.0.0.1:9/"
"""A port on which nothing listens."""


@pytest.fixture(autouse=True)
def _forget() -> None:
    download_and_verify.cache_clear()


def is_complete(folder: Path, files: Files) -> bool:
    return all(file.is_intact(folder) for file in files)


def test_missing_files_are_fetched(tmp_path: Path, site: Site, files: Files) -> None:
    download_and_verify(tmp_path / "raw", files, (site.url,), 5.0)
    assert is_complete(tmp_path / "raw", files)
    assert {path.name for path in (tmp_path / "raw").iterdir()} == {"one", "two", ".lock"}


def test_intact_files_need_neither_network_nor_write_access(tmp_path: Path, site: Site, files: Files) -> None:
    download_and_verify(tmp_path, files, (site.url,), 5.0)
    (tmp_path / ".lock").unlink()
    download_and_verify.cache_clear()
    site.requests.clear()
    download_and_verify(tmp_path, files, (site.url,), 5.0)
    assert site.requests == []
    assert not (tmp_path / ".lock").exists()


def test_one_damaged_byte_is_found_and_mended(
    tmp_path: Path, site: Site, files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    download_and_verify(tmp_path, files, (site.url,), 5.0)
    content = bytearray((tmp_path / "two").read_bytes())
    content[1234] ^= 1
    (tmp_path / "two").write_bytes(content)
    download_and_verify.cache_clear()
    site.requests.clear()
    download_and_verify(tmp_path, files, (site.url,), 5.0)
    assert site.requests == ["/two.gz"]
    assert is_complete(tmp_path, files)
    assert f"{tmp_path / 'two'} is damaged" in caplog.text


def test_a_truncated_file_is_found(tmp_path: Path, site: Site, files: Files) -> None:
    download_and_verify(tmp_path, files, (site.url,), 5.0)
    (tmp_path / "one").write_bytes((tmp_path / "one").read_bytes()[:-1])
    download_and_verify.cache_clear()
    download_and_verify(tmp_path, files, (site.url,), 5.0)
    assert is_complete(tmp_path, files)


def test_a_mirror_that_is_down_is_passed_over(
    tmp_path: Path, site: Site, files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    download_and_verify(tmp_path / "raw", files, (NOBODY, f"{site.url}gone/", site.url), 5.0)
    assert is_complete(tmp_path / "raw", files)
    assert f"passed over {NOBODY}one.gz" in caplog.text


def test_a_mirror_with_wrong_content_is_passed_over(tmp_path: Path, site: Site, files: Files) -> None:
    wrong = {
        "other": gzip.compress(b"something else"),
        "longer": gzip.compress(b"first " * 5001),
        "cut": (site.folder / "one.gz").read_bytes()[:-9],
        "html": b"<html>log in first</html>",
    }
    for folder, content in wrong.items():
        (site.folder / folder).mkdir()
        (site.folder / folder / "one.gz").write_bytes(content)
    download_and_verify(tmp_path / "raw", files[:1], (*(f"{site.url}{folder}/" for folder in wrong), site.url), 5.0)
    assert len(site.requests) == 5
    assert is_complete(tmp_path / "raw", files[:1])


def test_an_archive_that_lies_there_already_is_used_without_network(tmp_path: Path, site: Site, files: Files) -> None:
    for file in files:
        (tmp_path / f"{file.name}.gz").write_bytes((site.folder / f"{file.name}.gz").read_bytes())
    download_and_verify(tmp_path, files, (), 5.0)
    assert is_complete(tmp_path, files)


def test_a_damaged_archive_is_passed_over(tmp_path: Path, site: Site, files: Files) -> None:
    (tmp_path / "one.gz").write_bytes(b"not gzip at all")
    download_and_verify(tmp_path, files, (site.url,), 5.0)
    assert is_complete(tmp_path, files)


def test_a_bomb_is_not_unpacked_beyond_the_size_of_the_file(tmp_path: Path, files: Files) -> None:
    (tmp_path / "one.gz").write_bytes(gzip.compress(bytes(50_000_000)))
    with pytest.raises(UserError, match=r"could not be fetched"):
        download_and_verify(tmp_path, files[:1], (), 5.0)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 100_000


def test_an_archive_that_goes_on_for_ever_is_given_up(tmp_path: Path, files: Files) -> None:
    empty = gzip.compress(b"")
    (tmp_path / "one.gz").write_bytes(empty * 60_000)  # as good as for ever: it unpacks to nothing
    with pytest.raises(UserError, match=r"its archive does not end"):
        download_and_verify(tmp_path, files[:1], (), 5.0)
    assert {path.name for path in tmp_path.iterdir()} == {"one.gz", "site", ".lock"}


def test_a_mirror_cannot_point_at_files_of_this_machine(tmp_path: Path, site: Site, files: Files) -> None:
    (tmp_path / "one.gz").write_bytes((site.folder / "one.gz").read_bytes())
    site.redirect = f"file://{tmp_path}/one.gz"
    with pytest.raises(UserError, match=r"could not be fetched"):
        download_and_verify(tmp_path / "raw", files[:1], (site.url,), 5.0)


def test_without_any_source_the_ways_on_are_told(tmp_path: Path, files: Files) -> None:
    with pytest.raises(UserError) as caught:
        download_and_verify(tmp_path / "raw", files, (NOBODY,), 5.0)
    message = str(caught.value)
    for part in (str(tmp_path / "raw" / "one"), "place the four .gz files", "data.root", "data.mirrors", NOBODY):
        assert part in message
    assert "data=synthetic" in message
    assert [path.name for path in (tmp_path / "raw").iterdir()] == [".lock"]


def test_a_root_that_cannot_be_written(tmp_path: Path, site: Site, files: Files) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"data.root: .* cannot be written"):
        download_and_verify(tmp_path / "file" / "raw", files, (site.url,), 5.0)


@pytest.mark.slow
def test_two_processes_at_once_both_succeed_and_fetch_once(tmp_path: Path, site: Site, files: Files) -> None:
    code = (
        "import sys; from pathlib import Path; from fashion_mlp.data.download import DataFile, download_and_verify\n"
        f"download_and_verify(Path({str(tmp_path / 'raw')!r}), {files!r}, ({site.url!r},), 5.0)"
    )
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    processes = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert sorted(site.requests) == ["/one.gz", "/two.gz"]
    assert is_complete(tmp_path / "raw", files)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"old")
    with pytest.raises(RuntimeError), atomic_write(tmp_path / "kept") as file:  # noqa: PT012
        file.write(b"new")
        raise RuntimeError
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("kept", b"old")]
