"""Functions that write forged checkpoints, as an attacker would."""

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch


@dataclass
class Call:
    """A value that is pickled as the call of a function."""

    function: Any
    arguments: tuple[Any, ...]

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.arguments


@dataclass
class Stored:
    """A value that is pickled as a storage with this name, number of elements and type."""

    name: str
    numel: int
    kind: Any = torch.FloatStorage


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        return ("storage", value.kind, value.name, "cpu", value.numel) if isinstance(value, Stored) else None


def tensor(storage: Stored, shape: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> Call:
    return Call(torch._utils._rebuild_tensor_v2, (storage, offset, shape, stride, False, None))


def pickled(content: Any) -> bytes:
    buffer = BytesIO()
    _Pickler(buffer, 2).dump(content)
    return buffer.getvalue()


def forge(
    path: Path, content: Any, storages: Mapping[str, bytes] | None = None, compression: int = zipfile.ZIP_STORED
) -> Path:
    """Write an archive with the layout of `torch.save`.

    Args:
        path: of the file.
        content: is pickled, unless it is bytes.
        storages: the bytes of each storage.
        compression: of the ZIP entries.
    """
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", content if isinstance(content, bytes) else pickled(content))
        archive.writestr("archive/byteorder", "little")
        for name, data in (storages or {}).items():
            archive.writestr(f"archive/data/{name}", data)
        archive.writestr("archive/version", "3\n")
    return path
