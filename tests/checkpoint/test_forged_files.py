"""Files that an attacker would hand on are refused, before anything of what they claim is reserved.

The claims are mostly of a size that no machine has: whoever believes them fails in another way.
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
from fashion_mlp.checkpoint.archive import MAX_DEPTH
from fashion_mlp.checkpoint.load import build_model, read_checkpoint
from fashion_mlp.checkpoint.log_files import rewind_logs
from fashion_mlp.cli.main import main
from fashion_mlp.runtime.errors import UserError
from tests.checkpoint.forging import Call, Stored, forge, tensor

HUGE = 10**12
FOUR = {"0": bytes(16)}
"""A storage of four numbers."""


MEGABYTE = b"c_codecs\nencode\nq\x00X\x00\x00\x10\x00" + b"a" * 2**20 + b"X\x06\x00\x00\x00latin1\x86q\x01R"
"""Pickled bytes; the function and its arguments are in the memo."""


def weights(*shape: int, storage: Stored | None = None) -> Call:
    return tensor(storage or Stored("0", 4), shape, (0,) * len(shape))


def nested(depth: int, width: int) -> list[Any]:
    content: list[Any] = []
    for _ in range(depth):
        content = [content] * width
    return content


def itself() -> list[Any]:
    content: list[Any] = []
    content.append(content)
    return content


FORGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a view of four numbers": (
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
    "a storage that is not there": (
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
    "a call of text": (lambda path: forge(path, b"\x80\x02X\x01\x00\x00\x00a)R."), r"damaged, or not a checkpoint"),
    "another codec": (
        lambda path: forge(path, b"\x80\x02c_codecs\nencode\nX\x01\0\0\0aX\x03\0\0\0zip\x86R."),
        r"byte strings in an encoding other than latin1",
    ),
    "the same bytes often": (
        lambda path: forge(path, b"\x80\x02](" + MEGABYTE + b"h\x00h\x01R" * 9 + b"e."),
        r"byte strings in an encoding other than latin1, or too many",
    ),
    "a filled dict": (
        lambda path: forge(path, Call(OrderedDict, ([("a", 1)],))),
        r"damaged, or not a checkpoint",
    ),
    "a key whose hash takes for ever": (
        lambda path: forge(path, b"\x80\x02})" + b"q\x00h\x00\x86" * 60 + b"K\x01s."),
        r"keys other than text and integers",
    ),
    "lists without end": (lambda path: forge(path, {"w": itself()}), rf"values nested more than {MAX_DEPTH} deep"),
    "a billion laughs": (lambda path: forge(path, {"w": nested(40, 2)}), r"more than 1,000,000 values"),
    "deep lists": (
        lambda path: forge(path, b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."),
        rf"values nested more than {MAX_DEPTH} deep",
    ),
    "too much text": (lambda path: forge(path, "x" * 5_000_000), r"5,000,0\d\d bytes of plain values"),
    "an unknown opcode": (lambda path: forge(path, b"\x80\x02\x8f."), r"damaged, or not a checkpoint"),
    "a memo at a huge place": (
        lambda path: forge(path, {"w": 1}) and forge(path, b"\x80\x02Nr\xff\xff\xff\xff."),
        r"'fashion_mlp' is missing",
    ),
    "a compressed bomb": (
        lambda path: forge(path, {"w": weights(1)}, {"0": bytes(10_000_000)}, zipfile.ZIP_DEFLATED),
        r"compressed entries",
    ),
    "torch's format before zip": (
        lambda path: torch.save({"w": torch.ones(1)}, path, _use_new_zipfile_serialization=False),
        r"not written by torch.save",
    ),
    "bytes after the end": (
        lambda path: forge(path, {}) and path.write_bytes(path.read_bytes() + bytes(30)),
        r"not written by torch.save",
    ),
}


@pytest.mark.parametrize("forged", FORGED)
def test_a_forged_checkpoint_is_refused(tmp_path: Path, forged: str) -> None:
    write, complaint = FORGED[forged]
    write(tmp_path / "x.ckpt")
    with pytest.raises(UserError, match=complaint) as told:
        read_checkpoint(tmp_path / "x.ckpt")
    assert str(told.value).startswith(f"{tmp_path / 'x.ckpt'}: ")
    assert len(str(told.value).splitlines()) == 1


def directory(path: Path, offset: int, size: int, value: int) -> None:
    """Change a number in the directory's entry of the first storage, which begins 46 bytes before its name."""
    content = bytearray(path.read_bytes())
    name = b"archive/data/0"
    start = content.rindex(name) - 46 + offset
    content[start : start + size] = value.to_bytes(size, "little")
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("offset", "size", "value", "complaint"),
    [
        (20, 4, 2**31, r"compressed"),  # its size
        (24, 4, 2**31, r"compressed"),  # its size, unpacked
        (10, 2, 8, r"compressed"),  # how
        (42, 4, 2**31, r"damaged"),  # where it lies
    ],
)
def test_a_directory_that_lies(tmp_path: Path, offset: int, size: int, value: int, complaint: str) -> None:
    path = forge(tmp_path / "x.ckpt", {"w": weights(4)}, FOUR)
    directory(path, offset, size, value)
    with pytest.raises(UserError, match=complaint):
        read_checkpoint(path)


def test_parts_larger_than_the_whole(tmp_path: Path) -> None:
    path = forge(tmp_path / "x.ckpt", {"w": weights(4)}, FOUR)
    directory(path, 20, 4, 2**31)
    directory(path, 24, 4, 2**31)
    with pytest.raises(UserError, match=r"entries larger than the file"):
        read_checkpoint(path)


def test_names_that_differ_in_case_only(tmp_path: Path) -> None:
    path = forge(tmp_path / "x.ckpt", {}, {"A": b"", "a": b""})
    with pytest.raises(UserError, match=r"several entries with the same name"):
        read_checkpoint(path)


def test_a_second_directory(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "x.ckpt")
    content = bytearray((tmp_path / "x.ckpt").read_bytes())
    content[-34:-26] = (0).to_bytes(8, "little")  # where the 64-bit directory ends
    (tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(UserError, match=r"two directories"):
        read_checkpoint(tmp_path / "x.ckpt")
    plain = forge(tmp_path / "y.ckpt", {})
    content = bytearray(plain.read_bytes())
    content[-6:-2] = (0).to_bytes(4, "little")
    plain.write_bytes(content)
    with pytest.raises(UserError, match=r"two directories"):
        read_checkpoint(plain)


def test_a_second_directory_behind_a_locator(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "x.ckpt")
    content = bytearray((tmp_path / "x.ckpt").read_bytes())
    content[-98:-94] = b"none"  # what begins the 64-bit directory's end: Python and torch take the 32-bit one instead
    (tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(UserError, match=r"two directories"):
        read_checkpoint(tmp_path / "x.ckpt")


def test_what_torch_saves_passes(tmp_path: Path) -> None:
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
    with pytest.raises(UserError, match=r"'fashion_mlp' is missing"):  # read, and found to be another's
        read_checkpoint(tmp_path / "x.ckpt")


GOOD: dict[str, Any] = {
    "epoch": 0,
    "fashion_mlp": {
        "model": {
            "_target_": "fashion_mlp.models.MLP",
            "hidden_sizes": [],
            "image_shape": [1, 2, 2],
            "num_classes": 2,
        },
        "class_names": ["hat", "sock"],
        "data": {"name": "mine", "option": "synthetic", "arguments": {"train_size": 10, "test_size": 10}},
    },
    "state_dict": {"model.layers.0.weight": torch.ones(2, 4), "model.layers.0.bias": torch.ones(2)},
}


def saved(path: Path, **changes: Any) -> Path:
    """Save a small checkpoint in which metadata are changed: `model__num_classes=3`."""
    metadata = {name: dict(value) if isinstance(value, dict) else value for name, value in GOOD["fashion_mlp"].items()}
    for name, value in changes.items():
        place, _, key = name.partition("__")
        if key:
            metadata[place][key] = value
        else:
            metadata[place] = value
    torch.save({**GOOD, "fashion_mlp": metadata}, path)
    return path


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"model__hidden_sizes": [10**9, 10**9]},
            r"would take 4,000,000,\S* bytes, its weights in the file 40\)",
        ),
        ({"model__hidden_sizes": [1] * 1001}, r"configuration has more than 1000 entries"),
        ({"model__hidden_sizes": "all"}, r"do not match"),
        ({"model__mystery": 1}, r"do not match"),
        ({"model__image_shape": [1, 10**6, 10**6]}, r"image shape \[1, 1000000, 1000000\]. Expected at most"),
        ({"model__image_shape": [1, 28]}, r"image shape \[1, 28\]. Expected channels, height and width"),
        ({"model__num_classes": 3}, r"2 class names for 3 logits"),
        ({"class_names": ["x"] * 10_001, "model__num_classes": 10_001}, r"10001 class names .*at most 10,000"),
        ({"class_names": [1, 2]}, r"invalid class names"),
        ({"model": []}, r"no description of a network"),
        ({"data": {}}, r"no description of the data"),
        ({"augment": {"flip": 1}}, r"no description of the augmentation"),
    ],
    ids=str,
)
def test_metadata_that_ask_for_too_much(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    load_classifier(saved(tmp_path / "good.ckpt"))
    with pytest.raises(UserError, match=complaint):
        load_classifier(saved(tmp_path / "x.ckpt", **changes))


LARGE = {"_target_": "torch.nn.Linear", "in_features": 10**4, "out_features": 10**4}
"""400 MB."""
ON_CPU = {**LARGE, "device": "cpu"}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"model__mystery": ON_CPU}, r"refused: the configuration names a device"),
        ({"model__mystery": {"x": [ON_CPU]}}, r"names a device"),
        ({"model__mystery": {"_target_": "torch.nn.Identity", "x": ON_CPU}}, r"names a device"),
        ({"model___args_": [[], ON_CPU]}, r"names a device"),
        ({"model__activation": {"_target_": "torch.nn.Linear", "_args_": [10**4, 10**4, True, "cpu"]}}, r"a device"),
        ({"model__activation": {**ON_CPU, "_partial_": True}}, r"names a device"),
        ({"model__activation": {"_target_": "torch.nn.DataParallel", "device_ids": [0]}}, r"names a device"),
        ({"model__activation": LARGE}, r"would take 400,040,0\d\d bytes, its weights in the file 40\)"),
        ({"model__activation": {"_target_": "torch.nn.Identity", "x": LARGE}}, r"would take 400,040,0\d\d bytes"),
        ({"model__mystery": LARGE}, r"got an unexpected keyword argument 'mystery'"),
        ({"model__activation": {**LARGE, "mystery": LARGE}}, r"got an unexpected keyword argument 'mystery'"),
        ({"model__activation": LARGE, "model___recursive_": False}, r"unexpected keyword argument '_recursive_'"),
        ({"model__activation": LARGE, "model___partial_": True}, r"does not describe a network"),
    ],
    ids=str,
)
def test_nothing_large_is_built_that_the_file_does_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], complaint: str
) -> None:
    allocated: list[torch.Size] = []

    def reset_parameters(linear: nn.Linear) -> None:
        if not linear.weight.is_meta:
            allocated.append(linear.weight.shape)

    monkeypatch.setattr(nn.Linear, "reset_parameters", reset_parameters)
    load_classifier(saved(tmp_path / "good.ckpt"))
    assert allocated == [(2, 4)]
    with pytest.raises(UserError, match=complaint):
        load_classifier(saved(tmp_path / "x.ckpt", **changes))
    assert allocated == [(2, 4)]


@pytest.mark.parametrize("name", ["LSTM", "Transformer", "TransformerEncoder"])
def test_layers_that_repeat_themselves_are_not_built(name: str) -> None:
    with pytest.raises(UserError, match=r"Expected a module class"):
        build_model({"_target_": f"torch.nn.{name}", "num_layers": 10**9})


@pytest.mark.parametrize(("key", "value"), [("root", "elsewhere"), ("num_workers", 10**6), ("mirrors", ["http://x/"])])
def test_a_checkpoint_does_not_say_what_is_written_and_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key: str, value: object
) -> None:
    monkeypatch.chdir(tmp_path)
    path = saved(tmp_path / "x.ckpt", data__arguments={"train_size": 10, "test_size": 10, key: value})
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", str(path)])
    assert f"refused, since it sets data.{key}" in str(ended.value)
    assert [file.name for file in tmp_path.iterdir()] == ["x.ckpt"]


def test_a_checkpoint_cuts_no_files_but_those_of_its_charts(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "run").mkdir()
    logger = TensorBoardLogger(tmp_path / "run", name="", version="")
    rewind_logs([logger], tmp_path, {"../victim": 0, str(victim): 0}, step=0)
    assert victim.read_text() == "precious"
