"""The zip archive that `torch.save` writes, looked through before torch reads it.

torch reserves what an archive's directory says and believes what its pickle says of the storages, so both are held
against the file first. Whatever `torch.save` would not have written is refused.
"""

import struct
import zipfile
from typing import IO

MAX_PICKLE_BYTES = 4 << 20
"""Of the pickle, in which tensors are only named; each of its bytes can become hundreds in memory."""
START = b"PK\x03\x04"
END = b"PK\x05\x06"
END_BYTES = 22
LOCATOR = b"PK\x06\x07"
LOCATOR_BYTES = 20
END64_BYTES = 56


class ForgedFileError(Exception):
    """A file that says of itself what is not so, or holds what does not belong into it."""


def read_directory(file: IO[bytes]) -> tuple[bytes, dict[str, int]]:
    """Check the directory of an archive.

    Args:
        file: open for reading.

    Returns:
        The pickle, and the bytes of each storage by its name.

    Raises:
        ForgedFileError: it is of torch's older formats, is compressed, or its sizes cannot be true.
        zipfile.BadZipFile: it is damaged.
    """
    size = file.seek(0, 2)
    _check_end(file, size)
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if any(
            entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size for entry in entries
        ):
            raise ForgedFileError("is compressed, and could unpack to any size")
        # torch looks names up whatever their case.
        if len({entry.filename.lower() for entry in entries}) != len(entries):
            raise ForgedFileError("holds several entries of the same name")
        if sum(entry.file_size for entry in entries) > size:
            raise ForgedFileError("says that its parts are larger than the whole")
        root = entries[0].filename.partition("/")[0]
        sizes = {entry.filename.removeprefix(f"{root}/"): entry.file_size for entry in entries}
        if sizes.get("data.pkl", 0) > MAX_PICKLE_BYTES:
            raise ForgedFileError(f"has {sizes['data.pkl']:,} bytes of plain values, more than {MAX_PICKLE_BYTES:,}")
        if archive.testzip() is not None:  # a bit that has flipped, which torch would not notice
            raise zipfile.BadZipFile
        pickled = archive.read(f"{root}/data.pkl")
    file.seek(0)
    return pickled, {name.removeprefix("data/"): size for name, size in sizes.items() if name.startswith("data/")}


def _check_end(file: IO[bytes], size: int) -> None:
    """Check the ends of an archive, so that Python and torch find the same directory in it.

    The layout: section 4.3 of https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT.
    """
    file.seek(0)
    start = file.read(len(START))
    file.seek(max(0, size - END_BYTES - LOCATOR_BYTES))
    locator, end = file.read(LOCATOR_BYTES), file.read(END_BYTES)
    if start != START or len(end) != END_BYTES or not end.startswith(END) or end[-2:] != b"\0\0":
        raise ForgedFileError("is damaged, or no archive as torch.save writes it")
    directory_end = size - END_BYTES
    directory_bytes, directory_start = struct.unpack("<II", end[12:20])
    if locator.startswith(LOCATOR):
        directory_end -= LOCATOR_BYTES + END64_BYTES
        if struct.unpack("<Q", locator[8:16])[0] != directory_end:
            raise ForgedFileError("has two directories")
        file.seek(directory_end)
        directory_bytes, directory_start = struct.unpack("<QQ", file.read(END64_BYTES)[40:56])
    if directory_start + directory_bytes != directory_end:
        raise ForgedFileError("has two directories")
