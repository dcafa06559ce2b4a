"""Files are verified, restored if they are damaged, and downloaded by one of several concurrent processes."""

import gzip
import re
from pathlib import Path
from urllib.error import URLError

import pytest

from fashion_mlp.data.download import DataFile, download_and_verify
from fashion_mlp.runtime.atomic import atomic_write
from fashion_mlp.runtime.errors import UserError
from tests.data.conftest import Site
from tests.forked import SERVER

Files = tuple[DataFile, ...]
# No server listens on this port.
CLOSED = "http://127.0.0.1:9/"


@pytest.fixture(autouse=True)
def _clear_cache() -> None:
    download_and_verify.cache_clear()


def is_complete(directory: Path, files: Files) -> bool:
    return all(file.is_intact(directory) for file in files)


def test_missing_files_are_downloaded(tmp_path: Path, site: Site, files: Files) -> None:
    download_and_verify(tmp_path / "raw", files, (site.url,), 5.0)
    assert is_complete(tmp_path / "raw", files)
    assert {path.name for path in (tmp_path / "raw").iterdir()} == {"one", "one.gz", "two", "two.gz", ".lock"}


def test_intact_files_need_neither_network_nor_write_access(tmp_path: Path, site: Site, files: Files) -> None:
    download_and_verify(tmp_path, files, (site.url,), 5.0)
    (tmp_path / ".lock").unlink()
    download_and_verify.cache_clear()
    site.requests.clear()
    download_and_verify(tmp_path, files, (site.url,), 5.0)
    assert site.requests == []
    assert not (tmp_path / ".lock").exists()


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("has_archive", [True, False])
def test_a_damaged_byte_is_found_and_the_file_restored(
    tmp_path: Path, site: Site, files: Files, caplog: pytest.LogCaptureFixture, number: int, has_archive: bool
) -> None:
    download_and_verify(tmp_path, files, (site.url,), 5.0)
    path = tmp_path / files[number].name
    content = bytearray(path.read_bytes())
    content[1234] ^= 1
    path.write_bytes(content)
    if not has_archive:
        path.with_suffix(".gz").unlink()
    download_and_verify.cache_clear()
    site.requests.clear()
    download_and_verify(tmp_path, files, (site.url,), 5.0)
    assert site.requests == ([] if has_archive else [f"/{path.name}.gz"])
    assert is_complete(tmp_path, files)
    assert f"{path} is damaged" in caplog.text


def test_without_its_archive_a_file_of_known_sha256_is_intact(tmp_path: Path, site: Site, files: Files) -> None:
    download_and_verify(tmp_path, files, (site.url,), 5.0)
    for file in files:
        (tmp_path / f"{file.name}.gz").unlink()
    assert [file.is_intact(tmp_path) for file in files] == [True, False]


def test_a_truncated_file_is_found(tmp_path: Path, site: Site, files: Files) -> None:
    download_and_verify(tmp_path, files, (site.url,), 5.0)
    for file in files:
        (tmp_path / file.name).write_bytes((tmp_path / file.name).read_bytes()[:-1])
    download_and_verify.cache_clear()
    download_and_verify(tmp_path, files, (site.url,), 5.0)
    assert is_complete(tmp_path, files)


def test_an_unreachable_mirror_is_skipped(
    tmp_path: Path, site: Site, files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    download_and_verify(tmp_path / "raw", files, (CLOSED, f"{site.url}gone/", site.url), 5.0)
    assert is_complete(tmp_path / "raw", files)
    assert f"skipped {CLOSED}one.gz" in caplog.text


def test_a_mirror_with_wrong_content_is_skipped(tmp_path: Path, site: Site, files: Files) -> None:
    wrong = {
        "other": gzip.compress(b"something else"),
        "truncated": (site.directory / "one.gz").read_bytes()[:-9],
        "html": b"<html>log in first</html>",
    }
    for directory, content in wrong.items():
        (site.directory / directory).mkdir()
        (site.directory / directory / "one.gz").write_bytes(content)
    download_and_verify(
        tmp_path / "raw", files[:1], (*(f"{site.url}{directory}/" for directory in wrong), site.url), 5.0
    )
    assert len(site.requests) == 4
    assert is_complete(tmp_path / "raw", files[:1])


def test_an_existing_archive_is_used_without_network(tmp_path: Path, site: Site, files: Files) -> None:
    for file in files:
        (tmp_path / f"{file.name}.gz").write_bytes((site.directory / f"{file.name}.gz").read_bytes())
    download_and_verify(tmp_path, files, (), 5.0)
    assert is_complete(tmp_path, files)


def test_a_damaged_archive_is_replaced(tmp_path: Path, site: Site, files: Files) -> None:
    for file in files:
        (tmp_path / f"{file.name}.gz").write_bytes(b"not gzip at all")
    download_and_verify(tmp_path, files, (site.url,), 5.0)
    assert is_complete(tmp_path, files)


def test_an_unverified_archive_is_not_unpacked(tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one.gz").write_bytes(gzip.compress(bytes(50_000_000)))
    monkeypatch.setattr(gzip, "decompress", pytest.fail)
    with pytest.raises(UserError, match=r"could not be downloaded"):
        download_and_verify(tmp_path, files[:1], (), 5.0)


def test_an_endless_download_is_stopped(tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fashion_mlp.data.download.MAX_ARCHIVE_BYTES", 100)
    (tmp_path / "one.gz").symlink_to("/dev/zero")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "one.gz").symlink_to("/dev/zero")
    with pytest.raises(UserError, match=r"could not be downloaded"):
        download_and_verify(tmp_path, files[:1], (f"{(tmp_path / 'other').as_uri()}/",), 5.0)


def test_a_mirror_cannot_redirect_to_local_files(tmp_path: Path, site: Site, files: Files) -> None:
    (tmp_path / "one.gz").write_bytes((site.directory / "one.gz").read_bytes())
    site.redirect = f"file://{tmp_path}/one.gz"
    with pytest.raises(UserError, match=r"could not be downloaded"):
        download_and_verify(tmp_path / "NAME" / "data" / "raw", files[:1], (site.url,), 5.0)


@pytest.mark.parametrize(
    ("mirrors", "reason"),
    [
        ((), "data.mirrors is empty"),
        (("{site}page/",), "{host}: a web page instead of the file"),
        (("{site}wrong/",), "{host}: wrong content, by its MD5"),
        (("{site}gone/",), "{host}: HTTP Error 404: File not found"),
        (("http:///",), "http:///: no host given"),
        (("http://gone.invalid/",), r"gone.invalid: \[Errno -\d\] .*"),
        (("unknown://a/",), "a: unknown url type: unknown"),
        (("nothing",), "nothing: unknown url type: 'nothingone.gz'"),
        (("{site}page/", CLOSED), r"{host}: a web page .*; 127.0.0.1:9: \[Errno 111\] Connection refused"),
    ],
)
def test_a_failure_is_explained_and_leaves_nothing(
    tmp_path: Path, site: Site, files: Files, mirrors: tuple[str, ...], reason: str
) -> None:
    for name, content in (("page", b"\n<!DOCTYPE html><p>Log in first</p>"), ("wrong", gzip.compress(b"other"))):
        (site.directory / name).mkdir()
        (site.directory / name / "one.gz").write_bytes(content)
    root = tmp_path / "new" / "root"
    with pytest.raises(UserError) as caught:
        download_and_verify(root / "NAME" / "raw", files, tuple(url.format(site=site.url) for url in mirrors), 5.0)
    first, second, third = str(caught.value).splitlines()
    reason = reason.format(host=site.url.split("/")[2])
    assert re.fullmatch(rf"data.root={root}: NAME is missing, and could not be downloaded \({reason}\)", first)
    assert second.startswith(f"error: place its .gz files in {root}/NAME/raw, or type data.root=DIRECTORY or ")
    assert "data=synthetic" in third
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("error", [TimeoutError(), URLError(OSError()), URLError("")])
def test_a_reason_is_never_empty(tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("fashion_mlp.data.download.urlopen", fail)
    with pytest.raises(UserError, match=r"could not be downloaded \(a: [A-Za-z]+Error\)"):
        download_and_verify(tmp_path / "NAME" / "raw", files, ("http://a/",), 5.0)


def test_a_damaged_file_without_a_source_is_kept(tmp_path: Path, files: Files) -> None:
    directory = tmp_path / "NAME" / "raw"
    directory.mkdir(parents=True)
    (directory / "one").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"NAME is damaged, and could not be downloaded \(data.mirrors is empty\)"):
        download_and_verify(directory, files, (), 5.0)
    assert (directory / "one").read_bytes() == b"damaged"


@pytest.mark.parametrize(
    ("root", "remedy"),
    [
        ("NAME/raw", "the files of NAME are in {top}/NAME/raw. Type data.root={top}"),
        ("NAME", "the files of NAME are in {top}/NAME/raw. Type data.root={top}"),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_root_within_the_data_set_is_refused_without_network(
    tmp_path: Path, site: Site, files: Files, root: str, remedy: str, suffix: str
) -> None:
    download_and_verify(tmp_path / "NAME" / "raw", files[:1], (site.url,), 5.0)
    (tmp_path / "NAME" / "raw" / f"one{'' if suffix else '.gz'}").unlink()
    site.requests.clear()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError) as caught:
        download_and_verify(tmp_path / root / "NAME" / "raw", files, (site.url,), 5.0)
    assert str(caught.value) == f"data.root={tmp_path / root}: {remedy.format(top=tmp_path)}"
    assert site.requests == []
    assert sorted(tmp_path.rglob("*")) == before


def test_other_files_of_the_same_names_do_not_matter(tmp_path: Path, site: Site, files: Files) -> None:
    (tmp_path / "one.gz").write_bytes(gzip.compress(b"of another data set"))
    download_and_verify(tmp_path / "NAME" / "raw", files, (site.url,), 5.0)
    assert is_complete(tmp_path / "NAME" / "raw", files)


def test_a_root_that_cannot_be_written(tmp_path: Path, site: Site, files: Files) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(UserError, match=r"data.root: .* cannot be written"):
        download_and_verify(tmp_path / "file" / "raw", files, (site.url,), 5.0)


@pytest.mark.slow
def test_two_concurrent_processes_succeed_and_download_once(tmp_path: Path, site: Site, files: Files) -> None:
    arguments = tmp_path / "raw", files, (site.url,), 5.0
    processes = [SERVER.Process(target=download_and_verify, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert sorted(site.requests) == ["/one.gz", "/two.gz"]
    assert is_complete(tmp_path / "raw", files)


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"old")
    with pytest.raises(RuntimeError), atomic_write(tmp_path / "kept") as file:  # noqa: PT012
        file.write(b"new")
        raise RuntimeError
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("kept", b"old")]
