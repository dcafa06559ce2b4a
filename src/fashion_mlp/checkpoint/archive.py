"""Read a file that `torch.save` wrote, whoever wrote it: execute nothing, and reserve no memory for what it lacks.

`torch.load(weights_only=True, mmap=True)` calls only functions that execute no foreign code, maps tensors from the file
instead of reserving memory, and refuses a tensor that goes beyond the file. It does not cover the following, which is
checked here:

- It unpacks compressed entries of any size, and skips their checksums.
- It believes the size that the pickle gives a storage, wherever in the file that ends.
- It calls `bytearray(10**12)`, `torch.Tensor(10**12)` and `encode(encode(..., "hex"), "hex")`, which reserve memory.
- It hashes every key, which never ends for nested tuples, and sets any attribute of a dict, which can hide a method.
- It returns lists that contain themselves, and views that repeat four numbers a million million times.
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

# Of the pickle, in which tensors are only named; each of its bytes can become hundreds in memory.
MAX_PICKLE_BYTES = 4 << 20
MAX_DEPTH = 50
# Of all plain values, each counted as often as it is reached.
MAX_VALUES = 1_000_000
# Bytes of all tensors for each byte of their storages, which some share, as tied weights do.
MAX_SHARING = 4
# What `torch.save` writes for tensors and plain values.
OPCODES = (
    "APPEND APPENDS BINFLOAT BINGET BININT BININT1 BININT2 BINPERSID BINPUT BINUNICODE BUILD EMPTY_DICT EMPTY_LIST "
    "EMPTY_TUPLE GLOBAL LONG1 LONG_BINGET LONG_BINPUT MARK NEWFALSE NEWTRUE NONE PROTO REDUCE SETITEM SETITEMS STOP "
    "TUPLE TUPLE1 TUPLE2 TUPLE3"
)


class ForgedFileError(Exception):
    """A file that says of itself what is not so, or holds what does not belong into it."""


def load(path: Path) -> Any:
    """Load plain values and tensors; the tensors are mapped from the file.

    Raises:
        ForgedFileError: the file holds something else, or would take far more memory than its size.
        Exception: it is damaged, in one of the many ways in which unpickling fails.
    """
    with path.open("rb") as file:
        pickled, storages = _read_archive(file)
    _Inspector(pickled, storages).load()
    content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    _check_content(content, sum(storages.values()))
    return content


def _read_archive(file: IO[bytes]) -> tuple[bytes, dict[str, int]]:
    """Check the directory and the checksums of an archive; return the pickle, and the bytes of each storage by name."""
    size = file.seek(0, 2)
    _check_end(file, size)
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if any(entry.compress_type or entry.file_size != entry.compress_size for entry in entries):
            raise ForgedFileError("is compressed, and could unpack to any size")
        if len({entry.filename.lower() for entry in entries}) != len(entries):  # torch ignores the case of a name
            raise ForgedFileError("holds several entries of the same name")
        if sum(entry.file_size for entry in entries) > size:
            raise ForgedFileError("says that its parts are larger than the whole")
        root = entries[0].filename.partition("/")[0]
        sizes = {entry.filename.removeprefix(f"{root}/"): entry.file_size for entry in entries}
        if sizes["data.pkl"] > MAX_PICKLE_BYTES:
            raise ForgedFileError(f"has {sizes['data.pkl']:,} bytes of plain values, more than {MAX_PICKLE_BYTES:,}")
        if archive.testzip() is not None:
            raise zipfile.BadZipFile
        pickled = archive.read(f"{root}/data.pkl")
    return pickled, {name.removeprefix("data/"): size for name, size in sizes.items() if name.startswith("data/")}


def _check_end(file: IO[bytes], size: int) -> None:
    """Check the end of an archive, so that Python and torch find the same directory in it.

    The layout: section 4.3 of https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT.
    """
    file.seek(max(0, size - 98))
    tail = file.read()
    end64, locator, end = tail[-98:-42], tail[-42:-22], tail[-22:]
    if not end.startswith(b"PK\5\6") or not end.endswith(b"\0\0"):
        raise ForgedFileError("is damaged, or no archive as torch.save writes it")
    expected, (length, start) = size - len(end), struct.unpack("<II", end[12:20])
    if locator.startswith(b"PK\6\7"):
        expected, (length, start) = expected - len(locator) - len(end64), struct.unpack("<QQ", end64[40:56])
        if not end64.startswith(b"PK\6\6") or struct.unpack("<Q", locator[8:16]) != (expected,):
            raise ForgedFileError("has two directories")
    if start + length != expected:
        raise ForgedFileError("has two directories")


def _check_content(content: object, stored: int) -> None:
    """Check the depth, number and size of nested values: one that is named often counts as often."""
    pending = [(content, 0)]
    count = nbytes = 0
    while pending:
        value, depth = pending.pop()
        children: list[Any] = list(value) if isinstance(value, list | tuple) else []
        if isinstance(value, dict):
            children = [*value.values(), *getattr(value, "__dict__", {}).values()]
        count += len(children)
        if isinstance(value, torch.Tensor):
            nbytes += prod(value.shape) * value.itemsize  # its own `nbytes` can overflow
        if depth > MAX_DEPTH:
            raise ForgedFileError(f"nests its values more than {MAX_DEPTH} deep")
        if count > MAX_VALUES:
            raise ForgedFileError(f"names more than {MAX_VALUES:,} values")
        if nbytes > MAX_SHARING * stored:
            raise ForgedFileError(f"has tensors of {nbytes:,} bytes or more in storages of {stored:,}")
        pending += [(child, depth + 1) for child in children]


class _Dict(dict[Any, Any]):
    """Stands in for a dict, and hashes plain values only."""

    def __setitem__(self, key: object, value: object) -> None:
        if type(key) not in (str, int):
            raise ForgedFileError("has keys that are neither text nor numbers")
        super().__setitem__(key, value)


class _Inspector(pickle._Unpickler):
    """Python's own unpickler with nothing in it to call but stubs.

    Args:
        pickled: the pickle, of which some hundred times its size is needed.
        sizes: the bytes of each storage by its name.
    """

    stack: list[Any]  # its parent's, of which the type checker does not know

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
        raise ForgedFileError(f"holds pickled objects ({path}), which could execute code when loaded")

    def persistent_load(self, pid: Any) -> None:
        """Check the size of a storage, which torch takes from here, and its name, which torch hashes."""
        _, dtype, name, _, numel = pid
        if type(name) is not str or type(numel) is not int:
            raise ForgedFileError("names a storage as torch.save does not")
        claimed, actual = numel * dtype.itemsize, self.sizes.get(name, 0)
        if claimed != actual:
            raise ForgedFileError(f"says that storage {name} has {claimed:,} bytes, where it has {actual:,}")
        if self.dtypes.setdefault(name, dtype) != dtype:
            raise ForgedFileError(f"says that storage {name} is of two types")

    def count_bytes(self, text: str, encoding: str) -> None:
        """Stand in for the function that makes bytes of text, perhaps often of the same."""
        self.bytes_left -= len(text)
        if encoding != "latin1" or self.bytes_left < 0:  # other encodings can multiply their input
            raise ForgedFileError("holds bytes in an encoding other than latin1, or too many")

    def make_dict(self) -> None:
        self.stack.append(_Dict())

    def set_attributes(self) -> None:
        """Let a state dict have the versions of its modules, and nothing else."""
        state = self.stack.pop()
        if type(self.stack[-1]) is not _Dict or type(state) is not _Dict or state.keys() - {"_metadata"}:
            raise ForgedFileError("gives an object attributes")

    # Others are a KeyError.
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        opcode: function
        for opcode, function in pickle._Unpickler.dispatch.items()
        if opcode in {getattr(pickle, name)[0] for name in OPCODES.split()}
    } | {pickle.EMPTY_DICT[0]: make_dict, pickle.BUILD[0]: set_attributes}
