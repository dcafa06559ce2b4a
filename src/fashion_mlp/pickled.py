"""The pickle in a checkpoint, gone through with stand-ins for its tensors, before torch makes any.

torch's own restricted unpickler executes no foreign code, but it reserves any size that a pickle names: a million
million numbers as a view of one, `bytearray(10**12)`, a list that holds itself twice, forty times over.
"""

import pickle
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from io import BytesIO
from operator import mul
from typing import Any, ClassVar

from fashion_mlp.archive import ForgedFileError

ITEM_BYTES = {
    "BFloat16Storage": 2,
    "BoolStorage": 1,
    "ByteStorage": 1,
    "CharStorage": 1,
    "DoubleStorage": 8,
    "FloatStorage": 4,
    "HalfStorage": 2,
    "IntStorage": 4,
    "LongStorage": 8,
    "ShortStorage": 2,
}
DTYPES = ("bfloat16", "bool", "float16", "float32", "float64", "int16", "int32", "int64", "int8", "uint8")
MAX_DEPTH = 50
MAX_VALUES = 1_000_000
"""Of all plain values, each counted as often as it is reached."""
MAX_SHARERS = 4
"""Tensors that may share a storage, as tied weights do: what is loaded may be copied."""
OPCODES = (
    "APPEND APPENDS BINFLOAT BINGET BININT BININT1 BININT2 BINPERSID BINPUT BINUNICODE BUILD EMPTY_DICT EMPTY_LIST "
    "EMPTY_TUPLE GLOBAL LONG1 LONG_BINGET LONG_BINPUT MARK NEWFALSE NEWTRUE NONE PROTO REDUCE SETITEM SETITEMS STOP "
    "TUPLE TUPLE1 TUPLE2 TUPLE3"
)
"""What `torch.save` writes for tensors and plain values."""


USUAL: Mapping[int, Callable[[Any], None]] = pickle._Unpickler.dispatch
"""What each opcode does."""


@dataclass
class Storage:
    """Stands in for a storage: the type and count of its numbers, and how many of them tensors have named."""

    kind: str
    numel: int
    named: int = 0


def check_pickle(pickled: bytes, storages: Mapping[str, int]) -> None:
    """Check that a pickle holds plain values and tensors that fit their storages, and nothing is far from small.

    Args:
        pickled: the pickle, of which some hundred times its size is needed.
        storages: the bytes of each storage by its name.

    Raises:
        ForgedFileError: it does not.
        Exception: it is damaged, in one of the many ways in which unpickling fails.
    """
    _check_spread(_Inspector(pickled, storages).load())


def _check_spread(content: object) -> None:
    """Check the depth of nested values and their number: one that is named often counts as often."""
    level = [(content, 1)]
    total = 0
    for _ in range(MAX_DEPTH):
        times: Counter[int] = Counter()
        found = {}
        for parent, count in level:
            for child in _children(parent):
                times[id(child)] += count
                found[id(child)] = child
        total += times.total()
        if total > MAX_VALUES:
            raise ForgedFileError(f"names more than {MAX_VALUES:,} values")
        if not found:
            return
        level = [(child, times[place]) for place, child in found.items()]
    raise ForgedFileError(f"nests its values more than {MAX_DEPTH} deep")


def _children(value: object) -> Iterable[Any]:
    if isinstance(value, dict):
        return [*value.values(), *vars(value).values()] if isinstance(value, OrderedDict) else value.values()
    return value if isinstance(value, list | tuple) else ()


class _Inspector(pickle._Unpickler):
    """Python's own unpickler with nothing in it to call but stand-ins."""

    # Its parent's, of which the type checker does not know: what is under way, and what it is part of.
    stack: list[Any]
    metastack: list[list[Any]]

    def __init__(self, pickled: bytes, storages: Mapping[str, int]) -> None:
        super().__init__(BytesIO(pickled))
        self.sizes = storages
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in of a name."""
        path = f"{module}.{name}"
        if path in STAND_INS:
            return STAND_INS[path]
        if module == "torch" and (name in ITEM_BYTES or name in DTYPES):
            return name
        raise ForgedFileError(f"holds pickled objects ({path}), which could execute code when loaded")

    def persistent_load(self, pid: Any) -> Storage:
        """Return the stand-in of a storage, if it is as large as the archive's."""
        word, kind, name, location, numel = pid
        if word != "storage" or type(numel) is not int or {type(kind), type(name), type(location)} != {str}:
            raise ForgedFileError("names a storage as torch.save does not")
        claimed, actual = numel * ITEM_BYTES[kind], self.sizes.get(name, 0)
        if claimed != actual:
            raise ForgedFileError(f"says that storage {name} has {claimed:,} bytes, where it has {actual:,}")
        storage = self.storages.setdefault(name, Storage(kind, numel))
        if storage.kind != kind:
            raise ForgedFileError(f"says that storage {name} is of two types")
        return storage

    def checked_setitem(self) -> None:
        _check_keys(self.stack[-2:-1], self.stack[-3])
        USUAL[pickle.SETITEM[0]](self)

    def checked_setitems(self) -> None:
        _check_keys(self.stack[::2], self.metastack[-1][-1])
        USUAL[pickle.SETITEMS[0]](self)

    def checked_append(self) -> None:
        _check_is_list(self.stack[-2])
        USUAL[pickle.APPEND[0]](self)

    def checked_appends(self) -> None:
        _check_is_list(self.metastack[-1][-1])
        USUAL[pickle.APPENDS[0]](self)

    def checked_reduce(self) -> None:
        if self.stack[-2] not in STAND_INS.values():
            raise ForgedFileError("calls what is no function")
        USUAL[pickle.REDUCE[0]](self)

    def checked_build(self) -> None:
        """Let a state dict have the versions of its modules, and nothing else."""
        state = self.stack.pop()
        if type(self.stack[-1]) is not OrderedDict or type(state) is not dict or state.keys() - {"_metadata"}:
            raise ForgedFileError("gives an object attributes")
        vars(self.stack[-1]).update(state)

    # Others are a KeyError.
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        getattr(pickle, name)[0]: USUAL[getattr(pickle, name)[0]] for name in OPCODES.split()
    } | {
        pickle.APPEND[0]: checked_append,
        pickle.APPENDS[0]: checked_appends,
        pickle.BUILD[0]: checked_build,
        pickle.REDUCE[0]: checked_reduce,
        pickle.SETITEM[0]: checked_setitem,
        pickle.SETITEMS[0]: checked_setitems,
    }


def _check_keys(keys: Iterable[object], target: object) -> None:
    """Let only plain values be keys: the hash of nested tuples can take for ever."""
    if type(target) not in (dict, OrderedDict) or any(type(key) not in (str, int) for key in keys):
        raise ForgedFileError("has keys that are neither text nor numbers")


def _check_is_list(target: object) -> None:
    if type(target) is not list:
        raise ForgedFileError("appends to what is no list")


def _tensor(
    storage: Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], requires_grad: bool, hooks: object
) -> None:
    """Check that a tensor lies within its storage, and is not a view that repeats it."""
    numbers = [offset, *shape, *stride]
    if type(storage) is not Storage or hooks or any(type(number) is not int or number < 0 for number in numbers):
        raise ForgedFileError("holds a tensor that is none")
    end = offset + 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    count = reduce(mul, shape, 1)
    if count > storage.numel or (count and end > storage.numel):
        raise ForgedFileError(f"says that {count:,} numbers lie in a storage of {storage.numel:,}")
    storage.named += count
    if storage.named > MAX_SHARERS * storage.numel:
        raise ForgedFileError(f"has more than {MAX_SHARERS} tensors on one storage")


def _ordered(*arguments: Any) -> OrderedDict[Any, Any]:
    """Return an empty dict, which is how state dicts begin."""
    if arguments:
        raise ForgedFileError("fills a dict as torch.save does not")
    return OrderedDict()


def _bytes(text: str, encoding: str) -> bytes:
    """Return bytes, which older pickles spell as text."""
    if encoding != "latin1":
        raise ForgedFileError(f"holds bytes in {encoding}")
    return text.encode("latin1")


STAND_INS: Mapping[str, Callable[..., Any]] = {
    "_codecs.encode": _bytes,
    "collections.OrderedDict": _ordered,
    "torch._utils._rebuild_tensor_v2": _tensor,
}
