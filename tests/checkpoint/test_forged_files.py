"""Tests that forged files are refused before memory is reserved for the sizes that they claim.

Most claimed sizes exceed the memory of any machine: code that trusts them fails with another error.
"""

import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn

from fashion_mlp import load_classifier
from fashion_mlp.checkpoint.load import build_model, read_checkpoint
from fashion_mlp.checkpoint.run_state import rewind_logs
from fashion_mlp.checkpoint.safe_load import MAX_DEPTH
from fashion_mlp.cli.main import main
from fashion_mlp.runtime.errors import UserError
from tests.checkpoint.forging import Call, Stored, forge, tensor

HUGE = 10**12
# A storage with four numbers.
FOUR = {"0": bytes(16)}
# Pickled bytes; the function and its arguments are in the memo.
MEGABYTE = b"c_codecs\nencode\nq\x00X\x00\x00\x10\x00" + b"a" * 2**20 + b"X\x06\x00\x00\x00latin1\x86q\x01R"


def weights(*shape: int, storage: Stored | None = None) -> Call:
    return tensor(storage or Stored("0", 4), shape, (0,) * len(shape))


def nested(depth: int, width: int) -> list[Any]:
    content: list[Any] = []
    for _ in range(depth):
        content = [content] * width
    return content


def recursive_list() -> list[Any]:
    content: list[Any] = []
    content.append(content)
    return content


FORGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a huge view of four numbers": (
        lambda path: forge(path, {"state_dict": weights(HUGE)}, FOUR),
        r"tensors of at least 4,000,000,000,000 bytes in storages of 16",
    ),
    "a shape beyond its storage": (
        lambda path: forge(path, {"w": tensor(Stored("0", 4), (2,), (1,), offset=3)}, FOUR),
        r"damaged, or not a checkpoint",
    ),
    "a negative stride": (
        lambda path: forge(path, {"w": tensor(Stored("0", 4), (2,), (-1,))}, FOUR),
        r"damaged, or not a checkpoint",
    ),
    "a storage larger than its record": (
        lambda path: forge(path, {"w": weights(1, storage=Stored("0", HUGE))}, FOUR),
        r"storage 0 has 16 bytes instead of 4,000,000,000,000",
    ),
    "a missing storage": (
        lambda path: forge(path, {"w": weights(1, storage=Stored("7", 4))}, FOUR),
        r"storage 7 has 0 bytes instead of 16",
    ),
    "a storage of two types": (
        lambda path: forge(path, {"a": weights(1), "b": weights(1, storage=Stored("0", 2, torch.DoubleStorage))}, FOUR),
        r"storage 0 has two types",
    ),
    "many tensors on one storage": (
        lambda path: forge(path, [tensor(Stored("0", 4), (4,), (1,)) for _ in range(5)], FOUR),
        r"tensors of at least 80 bytes in storages of 16",
    ),
    "a huge bytearray": (
        lambda path: forge(path, Call(bytearray, (HUGE,))),
        r"pickled objects \((__builtin__|builtins).bytearray\)",
    ),
    "a huge tensor": (lambda path: forge(path, Call(torch.Tensor, (HUGE,))), r"pickled objects \(torch.Tensor\)"),
    "a huge storage": (
        lambda path: forge(path, Call(torch.UntypedStorage, (HUGE,))),
        r"pickled objects \(torch.storage.UntypedStorage\)",
    ),
    "an attribute over a method": (
        lambda path: forge(path, b"\x80\x02ccollections\nOrderedDict\n)R}X\x05\x00\x00\x00itemsK\x01sb."),
        r"an object with attributes",
    ),
    "a call of a string": (lambda path: forge(path, b"\x80\x02X\x01\x00\x00\x00a)R."), r"damaged, or not a checkpoint"),
    "a codec other than latin1": (
        lambda path: forge(path, b"\x80\x02c_codecs\nencode\nX\x01\0\0\0aX\x03\0\0\0zip\x86R."),
        r"byte strings in an encoding other than latin1",
    ),
    "repeated large bytes": (
        lambda path: forge(path, b"\x80\x02](" + MEGABYTE + b"h\x00h\x01R" * 9 + b"e."),
        r"byte strings in an encoding other than latin1, or too many",
    ),
    "an OrderedDict with entries": (
        lambda path: forge(path, Call(OrderedDict, ([("a", 1)],))),
        r"damaged, or not a checkpoint",
    ),
    "a key that takes exponential time to hash": (
        lambda path: forge(path, b"\x80\x02})" + b"q\x00h\x00\x86" * 60 + b"K\x01s."),
        r"keys other than text and integers",
    ),
    "a list that contains itself": (
        lambda path: forge(path, {"w": recursive_list()}),
        rf"values nested more than {MAX_DEPTH} deep",
    ),
    "exponentially many values": (lambda path: forge(path, {"w": nested(40, 2)}), r"more than 1,000,000 values"),
    "deeply nested lists": (
        lambda path: forge(path, b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."),
        rf"values nested more than {MAX_DEPTH} deep",
    ),
    "too much text": (lambda path: forge(path, "x" * 5_000_000), r"5,000,0\d\d bytes of plain values"),
    "an unknown opcode": (lambda path: forge(path, b"\x80\x02\x8f."), r"damaged, or not a checkpoint"),
    "a huge memo index": (
        lambda path: forge(path, {"w": 1}) and forge(path, b"\x80\x02Nr\xff\xff\xff\xff."),
        r"'fashion_mlp' is missing",
    ),
    "a compressed storage": (
        lambda path: forge(path, {"w": weights(1)}, {"0": bytes(10_000_000)}, zipfile.ZIP_DEFLATED),
        r"compressed entries",
    ),
    "the legacy format of torch": (
        lambda path: torch.save({"w": torch.ones(1)}, path, _use_new_zipfile_serialization=False),
        r"not written by torch.save",
    ),
    "bytes after the archive": (
        lambda path: forge(path, {}) and path.write_bytes(path.read_bytes() + bytes(30)),
        r"not written by torch.save",
    ),
}


@pytest.mark.parametrize("kind", FORGED)
def test_forged_checkpoint_is_refused(tmp_path: Path, kind: str) -> None:
    write, message = FORGED[kind]
    write(tmp_path / "x.ckpt")
    with pytest.raises(UserError, match=message) as caught:
        read_checkpoint(tmp_path / "x.ckpt")
    assert str(caught.value).startswith(f"{tmp_path / 'x.ckpt'}: ")
    assert len(str(caught.value).splitlines()) == 1


def change_central_directory(path: Path, offset: int, size: int, value: int) -> None:
    """Change a number in the entry of the first storage, which starts 46 bytes before its name."""
    content = bytearray(path.read_bytes())
    name = b"archive/data/0"
    start = content.rindex(name) - 46 + offset
    content[start : start + size] = value.to_bytes(size, "little")
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("offset", "size", "value", "message"),
    [
        (20, 4, 2**31, r"compressed"),
        (24, 4, 2**31, r"compressed"),
        (10, 2, 8, r"compressed"),
        (42, 4, 2**31, r"damaged"),
    ],
    ids=["compressed-size", "uncompressed-size", "compression-method", "offset-in-file"],
)
def test_inconsistent_central_directory_is_refused(
    tmp_path: Path, offset: int, size: int, value: int, message: str
) -> None:
    path = forge(tmp_path / "x.ckpt", {"w": weights(4)}, FOUR)
    change_central_directory(path, offset, size, value)
    with pytest.raises(UserError, match=message):
        read_checkpoint(path)


def test_entries_larger_than_the_file_are_refused(tmp_path: Path) -> None:
    path = forge(tmp_path / "x.ckpt", {"w": weights(4)}, FOUR)
    change_central_directory(path, 20, 4, 2**31)
    change_central_directory(path, 24, 4, 2**31)
    with pytest.raises(UserError, match=r"entries larger than the file"):
        read_checkpoint(path)


def test_entry_names_that_differ_only_in_case_are_refused(tmp_path: Path) -> None:
    path = forge(tmp_path / "x.ckpt", {}, {"A": b"", "a": b""})
    with pytest.raises(UserError, match=r"several entries with the same name"):
        read_checkpoint(path)


def test_two_central_directories_are_refused(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "x.ckpt")
    content = bytearray((tmp_path / "x.ckpt").read_bytes())
    content[-34:-26] = (0).to_bytes(8, "little")  # offset of the end of the 64-bit directory
    (tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(UserError, match=r"two directories"):
        read_checkpoint(tmp_path / "x.ckpt")
    plain = forge(tmp_path / "y.ckpt", {})
    content = bytearray(plain.read_bytes())
    content[-6:-2] = (0).to_bytes(4, "little")
    plain.write_bytes(content)
    with pytest.raises(UserError, match=r"two directories"):
        read_checkpoint(plain)


def test_two_central_directories_behind_a_locator_are_refused(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "x.ckpt")
    content = bytearray((tmp_path / "x.ckpt").read_bytes())
    # Without the signature of the 64-bit directory, Python and torch read the 32-bit one.
    content[-98:-94] = b"none"
    (tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(UserError, match=r"two directories"):
        read_checkpoint(tmp_path / "x.ckpt")


def test_any_file_of_torch_save_is_read(tmp_path: Path) -> None:
    shared = torch.ones(3, 2)
    content = {
        "tied": [shared, shared.T],
        "empty": torch.ones(0, 5),
        "scalar": torch.tensor(1.0),
        "many": list(range(1000)),
        "plain": [1, -5, 10**30, 2.5, None, True, b"\x00\xff", "text", (1, (2, 3)), torch.float32],
        "kinds": [torch.ones(2).to(kind) for kind in (torch.bfloat16, torch.bool, torch.uint8, torch.int64)],
        "fashion_mlp": {},
        "state_dict": nn.Linear(2, 3).state_dict(),
    }
    torch.save(content, tmp_path / "x.ckpt")
    with pytest.raises(UserError, match=r"'fashion_mlp' is missing"):  # after the whole file was read
        read_checkpoint(tmp_path / "x.ckpt")


VALID: dict[str, Any] = {
    "epoch": 0,
    "fashion_mlp": {
        "model": {"_target_": "fashion_mlp.models.MLP", "hidden_sizes": [], "image_shape": [1, 2, 2], "num_classes": 2},
        "class_names": ["hat", "sock"],
        "data": {"name": "mine", "option": "synthetic", "arguments": {"train_size": 10, "test_size": 10}},
        "augment": {},
    },
    "state_dict": {"model.layers.0.weight": torch.ones(2, 4), "model.layers.0.bias": torch.ones(2)},
}


def saved(path: Path, **changes: Any) -> Path:
    """Save a small checkpoint with changed metadata: `model__num_classes=3`."""
    metadata = {name: dict(value) if isinstance(value, dict) else value for name, value in VALID["fashion_mlp"].items()}
    for name, value in changes.items():
        group, _, key = name.partition("__")
        if key:
            metadata[group][key] = value
        else:
            metadata[group] = value
    torch.save({**VALID, "fashion_mlp": metadata}, path)
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__hidden_sizes": [10**9, 10**9]}, r"would take 4,000,000,\S* bytes, its weights in the file 40\)"),
        ({"model__hidden_sizes": [1] * 1001}, r"configuration has more than 1000 entries"),
        ({"model__hidden_sizes": "all"}, r"do not match"),
        ({"model__mystery": 1}, r"do not match"),
        ({"model__image_shape": [1, 10**6, 10**6]}, r"image shape \[1, 1000000, 1000000\]. Expected at most"),
        ({"model__image_shape": [1, 28]}, r"image shape \[1, 28\]. Expected channels, height and width"),
        ({"model__num_classes": 3}, r"2 class names for 3 logits"),
        ({"class_names": ["x"] * 10_001, "model__num_classes": 10_001}, r"10001 class names .*at most 10,000"),
        ({"class_names": [1, 2]}, r"invalid class names"),
        ({"model": []}, r"no description of the network"),
        ({"data": {}}, r"no description of the data"),
        ({"augment": 1}, r"no description of the network or the data"),
        ({"novelty": {"features": torch.zeros(3, 4), "max_distance": 1.0}}, r"no description of the training images"),
    ],
    ids=str,
)
def test_invalid_or_too_large_metadata_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    load_classifier(saved(tmp_path / "valid.ckpt"))
    with pytest.raises(UserError, match=message):
        load_classifier(saved(tmp_path / "x.ckpt", **changes))


# A layer of 400 MB.
LARGE = {"_target_": "torch.nn.Linear", "in_features": 10**4, "out_features": 10**4}
ON_CPU = {**LARGE, "device": "cpu"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__mystery": ON_CPU}, r"refused: the configuration names a device"),
        ({"model__mystery": {"x": [ON_CPU]}}, r"names a device"),
        ({"model__mystery": {"_target_": "torch.nn.Identity", "x": ON_CPU}}, r"names a device"),
        ({"model___args_": [[], ON_CPU]}, r"names a device"),
        ({"model__activation": {"_target_": "torch.nn.Linear", "_args_": [10**4, 10**4, True, "cpu"]}}, r"a device"),
        ({"model__activation": {"_target_": "torch.nn.DataParallel", "device_ids": [0]}}, r"names a device"),
        ({"model__activation": LARGE}, r"would take 400,040,0\d\d bytes, its weights in the file 40\)"),
        ({"model__activation": {"_target_": "torch.nn.Identity", "x": LARGE}}, r"would take 400,040,0\d\d bytes"),
        ({"model__mystery": LARGE}, r"got an unexpected keyword argument 'mystery'"),
        ({"model__activation": {**LARGE, "mystery": LARGE}}, r"got an unexpected keyword argument 'mystery'"),
        ({"model__activation": LARGE, "model___recursive_": False}, r"unexpected keyword argument '_recursive_'"),
        ({"model___partial_": True}, r"unexpected keyword argument '_partial_'"),
    ],
    ids=str,
)
def test_modules_larger_than_the_weights_in_the_file_are_not_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    allocated: list[torch.Size] = []

    def reset_parameters(linear: nn.Linear) -> None:
        if not linear.weight.is_meta:
            allocated.append(linear.weight.shape)

    monkeypatch.setattr(nn.Linear, "reset_parameters", reset_parameters)
    load_classifier(saved(tmp_path / "valid.ckpt"))
    assert allocated == [(2, 4)]
    with pytest.raises(UserError, match=message):
        load_classifier(saved(tmp_path / "x.ckpt", **changes))
    assert allocated == [(2, 4)]


@pytest.mark.parametrize("name", ["LSTM", "Transformer", "TransformerEncoder"])
def test_modules_with_a_number_of_layers_are_not_built(name: str) -> None:
    with pytest.raises(UserError, match=r"Expected a module class"):
        build_model({"_target_": f"torch.nn.{name}", "num_layers": 10**9})


@pytest.mark.parametrize(("key", "value"), [("root", "elsewhere"), ("num_workers", 10**6), ("mirrors", ["http://x/"])])
def test_checkpoint_that_sets_paths_workers_or_mirrors_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key: str, value: object
) -> None:
    monkeypatch.chdir(tmp_path)
    path = saved(tmp_path / "x.ckpt", data__arguments={"train_size": 10, "test_size": 10, key: value})
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", str(path)])
    assert f"refused, since it sets data.{key}" in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["x.ckpt"]


def test_checkpoint_truncates_only_log_files_of_its_run(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("precious")
    (tmp_path / "run").mkdir()
    logger = TensorBoardLogger(tmp_path / "run", name="", version="")
    rewind_logs([logger], tmp_path, {"log_sizes": {"../other": 0, str(other): 0}})
    assert other.read_text() == "precious"
