"""Load a file in the format of `torch.save` from an untrusted source.

Nothing in the file is executed, and memory is allocated only in proportion to its size.

`torch.load(weights_only=True, mmap=True)` calls only functions that are safe, maps tensors from the file, and refuses a
tensor that extends beyond the file. This module checks what it does not check:

- It decompresses entries of any size, and ignores checksums.
- It trusts the size of a storage in the pickle.
- It calls `bytearray(10**12)`, `torch.Tensor(10**12)` and `encode(encode(..., "hex"), "hex")`, which allocate memory.
- It hashes keys, which does not end for nested tuples, and sets attributes of a dict, which can replace a method.
- It returns lists that contain themselves, and views that repeat a few numbers 10**12 times.
"""

import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from io import BytesIO
from math import prod
from pathlib import Path
from typing import IO, Any, ClassVar

import torch
from torch.serialization import StorageType

# Size of the pickle, without the tensors. Each byte can take hundreds of bytes in memory.
MAX_PICKLE_BYTES = 4 << 20
MAX_DEPTH = 50
# Number of plain values; a value counts once for each reference.
MAX_VALUES = 1_000_000
# Size of all tensors over that of their storages, which tied weights share.
MAX_SHARING = 4
# The opcodes that `torch.save` writes for tensors and plain values.
OPCODES = (
    "APPEND APPENDS BINFLOAT BINGET BININT BININT1 BININT2 BINPERSID BINPUT BINUNICODE BUILD EMPTY_DICT EMPTY_LIST "
    "EMPTY_TUPLE GLOBAL LONG1 LONG_BINGET LONG_BINPUT MARK NEWFALSE NEWTRUE NONE PROTO REDUCE SETITEM SETITEMS STOP "
    "TUPLE TUPLE1 TUPLE2 TUPLE3"
)


class ForgedFileError(Exception):
    """The file contains wrong sizes, or something other than tensors and plain values."""


def load(path: Path) -> Any:
    """Load plain values and tensors, which are mapped from the file.

    Raises:
        ForgedFileError: the file contains something else, or would take far more memory than its size.
        Exception: the file is damaged. Unpickling raises errors of many types.
    """
    with path.open("rb") as file:
        pickled, storages = _read_archive(file)
    _CheckingUnpickler(pickled, storages).load()
    content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    _check_content(content, sum(storages.values()))
    return content


def _read_archive(file: IO[bytes]) -> tuple[bytes, dict[str, int]]:
    """Check the directory and the checksums of an archive; return the pickle and the size of each storage by name."""
    size = file.seek(0, 2)
    _check_end(file, size)
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if any(entry.compress_type or entry.file_size != entry.compress_size for entry in entries):
            raise ForgedFileError("compressed entries")
        if len({entry.filename.lower() for entry in entries}) != len(entries):  # torch ignores the case of a name
            raise ForgedFileError("several entries with the same name")
        if sum(entry.file_size for entry in entries) > size:
            raise ForgedFileError("entries larger than the file")
        root = entries[0].filename.partition("/")[0]
        sizes = {entry.filename.removeprefix(f"{root}/"): entry.file_size for entry in entries}
        if sizes["data.pkl"] > MAX_PICKLE_BYTES:
            raise ForgedFileError(f"{sizes['data.pkl']:,} bytes of plain values, at most {MAX_PICKLE_BYTES:,}")
        if archive.testzip() is not None:
            raise zipfile.BadZipFile
        pickled = archive.read(f"{root}/data.pkl")
    return pickled, {name.removeprefix("data/"): size for name, size in sizes.items() if name.startswith("data/")}


def _check_end(file: IO[bytes], size: int) -> None:
    """Check the end of an archive, so that Python and torch find the same directory.

    Layout: section 4.3 of https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT.
    """
    file.seek(max(0, size - 98))
    tail = file.read()
    end64, locator, end = tail[-98:-42], tail[-42:-22], tail[-22:]
    if not end.startswith(b"PK\5\6") or not end.endswith(b"\0\0"):
        raise ForgedFileError("damaged, or not written by torch.save")
    expected, (length, start) = size - len(end), struct.unpack("<II", end[12:20])
    if locator.startswith(b"PK\6\7"):
        expected, (length, start) = expected - len(locator) - len(end64), struct.unpack("<QQ", end64[40:56])
        if not end64.startswith(b"PK\6\6") or struct.unpack("<Q", locator[8:16]) != (expected,):
            raise ForgedFileError("two directories")
    if start + length != expected:
        raise ForgedFileError("two directories")


def _check_content(content: object, stored: int) -> None:
    """Check depth, number and size of nested values; a value counts once for each reference."""
    pending = [(content, 0)]
    count = nbytes = 0
    while pending:
        value, depth = pending.pop()
        children: list[Any] = list(value) if isinstance(value, list | tuple) else []
        if isinstance(value, dict):
            children = [*value.values(), *getattr(value, "__dict__", {}).values()]
        count += len(children)
        if isinstance(value, torch.Tensor):
            nbytes += prod(value.shape) * value.itemsize  # `value.nbytes` can overflow
        if depth > MAX_DEPTH:
            raise ForgedFileError(f"values nested more than {MAX_DEPTH} deep")
        if count > MAX_VALUES:
            raise ForgedFileError(f"more than {MAX_VALUES:,} values")
        if nbytes > MAX_SHARING * stored:
            raise ForgedFileError(f"tensors of at least {nbytes:,} bytes in storages of {stored:,}")
        pending += [(child, depth + 1) for child in children]


class _Dict(dict[Any, Any]):
    """A dict that accepts plain keys only."""

    def __setitem__(self, key: object, value: object) -> None:
        if type(key) not in (str, int):
            raise ForgedFileError("keys other than text and integers")
        super().__setitem__(key, value)


class _CheckingUnpickler(pickle._Unpickler):
    """Python's unpickler, which calls stubs instead of functions.

    Args:
        pickled: the pickle.
        sizes: size of each storage in bytes, by name.
    """

    stack: list[Any]  # of the parent, which has no type annotations

    def __init__(self, pickled: bytes, sizes: Mapping[str, int]) -> None:
        super().__init__(BytesIO(pickled))
        self.sizes = sizes
        self.dtypes: dict[str, torch.dtype] = {}
        self.bytes_left = MAX_PICKLE_BYTES
        self.stubs: Mapping[str, Callable[..., Any]] = {
            "_codecs.encode": self.count_bytes,
            "collections.OrderedDict": lambda: _Dict(),
            "torch._utils._rebuild_tensor_v2": lambda *_: None,
        }

    def find_class(self, module: str, name: str) -> Any:
        """Return the stub of a function, or the data type of a storage."""
        path = f"{module}.{name}"
        if path in self.stubs:
            return self.stubs[path]
        if module == "torch" and name.endswith("Storage"):
            return StorageType(name).dtype  # type: ignore[no-untyped-call]
        if module == "torch" and isinstance(dtype := vars(torch).get(name), torch.dtype):
            return dtype
        raise ForgedFileError(f"pickled objects ({path}), which could execute code")

    def persistent_load(self, pid: Any) -> None:
        """Check the size, name and type of a storage."""
        _, dtype, name, _, numel = pid
        if type(name) is not str or type(numel) is not int:
            raise ForgedFileError("an invalid storage")
        stated, actual = numel * dtype.itemsize, self.sizes.get(name, 0)
        if stated != actual:
            raise ForgedFileError(f"storage {name} has {actual:,} bytes instead of {stated:,}")
        if self.dtypes.setdefault(name, dtype) != dtype:
            raise ForgedFileError(f"storage {name} has two types")

    def count_bytes(self, text: str, encoding: str) -> None:
        """Limit the size of all byte strings, since each call with the same text creates another one."""
        self.bytes_left -= len(text)
        if encoding != "latin1" or self.bytes_left < 0:  # other encodings can enlarge the text
            raise ForgedFileError("byte strings in an encoding other than latin1, or too many")

    def make_dict(self) -> None:
        self.stack.append(_Dict())

    def set_attributes(self) -> None:
        """Accept only the attribute `_metadata` of a state dict."""
        state = self.stack.pop()
        if type(self.stack[-1]) is not _Dict or type(state) is not _Dict or state.keys() - {"_metadata"}:
            raise ForgedFileError("an object with attributes")

    # Any other opcode raises a KeyError.
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        opcode: function
        for opcode, function in pickle._Unpickler.dispatch.items()
        if opcode in {getattr(pickle, name)[0] for name in OPCODES.split()}
    } | {pickle.EMPTY_DICT[0]: make_dict, pickle.BUILD[0]: set_attributes}
