"""Custom images, listed in a CSV file or in a directory per class."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from fashion_mlp.data import ImageCSVDataModule, ImageFolderDataModule
from fashion_mlp.data.custom_images import LabelledImages
from fashion_mlp.data.image_io import find_images
from fashion_mlp.data.synthetic import draw_garments
from fashion_mlp.runtime.errors import UserError
from tests.conftest import RunCommand

NAMES = ("hat", "sock")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Return a directory with ten images, 0.png to 9.png, of gray levels 0, 20, ... 180."""
    directory = tmp_path / "images"
    directory.mkdir()
    for number in range(10):
        Image.new("L", (28, 28), 20 * number).save(directory / f"{number}.png")
    return directory


WriteCSV = Callable[..., Path]


def read_csv(csv: Path, img_dir: Path, **arguments: Any) -> LabelledImages:
    return ImageCSVDataModule(str(csv), str(img_dir), **arguments).load_source("train")


@pytest.fixture
def write_csv(tmp_path: Path) -> WriteCSV:
    def write(*lines: str, name: str = "labels.csv") -> Path:
        path = tmp_path / name
        path.write_text("\n".join(lines))
        return path

    return write


def test_images_and_labels_keep_the_order_of_the_file(images: Path, write_csv: WriteCSV) -> None:
    loaded = read_csv(write_csv("3.png,sock", "1.png,hat"), images)
    assert loaded.class_names == NAMES
    assert loaded.labels.tolist() == [1, 0]
    assert (loaded.images.shape, loaded.images.dtype) == ((2, 1, 28, 28), torch.uint8)
    assert set(loaded.images[0].flatten().tolist()) == {60}


@pytest.mark.parametrize("first", ["file name,label", "image,class", "filename,label,comment"])
def test_a_header_is_not_an_image(images: Path, write_csv: WriteCSV, first: str) -> None:
    assert len(read_csv(write_csv(first, "3.png,sock", "1.png,hat"), images).labels) == 2
    assert len(read_csv(write_csv("3.png,sock", "1.png,hat"), images).labels) == 2


@pytest.mark.parametrize("name", ["gone.png", "gone.heic"])
def test_an_image_on_the_first_line_is_not_a_header(images: Path, write_csv: WriteCSV, name: str) -> None:
    with pytest.raises(UserError, match=rf"line 1: .*{name} is missing"):
        read_csv(write_csv(f"{name},sock", "1.png,hat", "2.png,sock"), images)


def test_numbers_are_ordered_as_numbers(images: Path, write_csv: WriteCSV) -> None:
    dataset = read_csv(write_csv("0.png,10", "1.png,9", "2.png,10"), images)
    assert dataset.class_names == ("9", "10")
    assert dataset.labels.tolist() == [1, 0, 1]


def test_given_classes_are_named_or_numbered(images: Path, write_csv: WriteCSV) -> None:
    dataset = read_csv(write_csv("0.png,sock", "1.png,0"), images, class_names=NAMES)
    assert dataset.labels.tolist() == [1, 0]


def test_images_of_any_size_and_color_are_converted(images: Path, write_csv: WriteCSV) -> None:
    Image.new("RGB", (60, 31), (255, 0, 0)).save(images / "photo.jpg")
    csv = write_csv("photo.jpg,a", "1.png,b")
    assert read_csv(csv, images, image_size=(20, 24), mode="rgb").images.shape == (2, 3, 20, 24)
    assert read_csv(csv, images).images.shape == (2, 1, 28, 28)


def read_problems(csv: Path, images: Path) -> dict[int, str]:
    """Return the problems that are reported, by line."""
    with pytest.raises(UserError) as caught:
        read_csv(csv, images, class_names=NAMES)
    lines = [line.partition("labels.csv line ")[2].partition(": ") for line in str(caught.value).splitlines()]
    return {int(number): problem for number, _, problem in lines}


def test_each_invalid_row_is_reported_with_its_line(images: Path, write_csv: WriteCSV) -> None:
    (images / "text.png").write_text("not an image")
    csv = write_csv("file,label", "0.png,hat", "gone.png,hat", "text.png,hat", "0.png,sock")
    problems = read_problems(csv, images)
    assert list(problems) == [3, 4, 5]
    assert problems[3].endswith("gone.png is missing")
    assert "text.png is not an image" in problems[4]
    assert f"0.png is already listed as {images / '0.png'}" in problems[5]


@pytest.mark.parametrize("separator", [";", "\t"])
def test_another_separator_is_named(images: Path, write_csv: WriteCSV, separator: str) -> None:
    csv = write_csv(*(f"{number}.png{separator}hat" for number in range(10)))
    with pytest.raises(UserError) as caught:
        read_csv(csv, images)
    name = {";": "semicolons", "\t": "tabs"}[separator]
    assert str(caught.value) == f"{csv}: separated by {name}. Expected commas: file name,label"
    assert len(read_csv(write_csv("0.png,a;b", "1.png,a\tb"), images).labels) == 2


@pytest.mark.parametrize("header", [(), ("label,file name",)])
def test_labels_in_the_first_column_are_named(images: Path, write_csv: WriteCSV, header: tuple[str, ...]) -> None:
    csv = write_csv(*header, *(f"hat,{number}.png" for number in range(10)))
    with pytest.raises(UserError) as caught:
        read_csv(csv, images)
    assert str(caught.value) == f"{csv}: the label is in the first column. Expected file name,label"


def test_an_unknown_label_is_reported_once(images: Path, write_csv: WriteCSV) -> None:
    csv = write_csv("0.png,hat", *(f"{number}.png,glove" for number in range(1, 9)), "9.png,socks")
    with pytest.raises(UserError) as caught:
        read_csv(csv, images, class_names=NAMES)
    assert str(caught.value).splitlines() == [
        f"{csv} line 2: the label 'glove' is not a class (available: hat, sock)",
        f"error: {csv} line 10: the label 'socks' is not a class; did you mean sock? (available: hat, sock)",
    ]


def test_a_wrong_class_directory_is_reported_once_before_training(classes_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(classes_dir, tmp_path / "test")
    (tmp_path / "test" / "sock").rename(tmp_path / "test" / "socks")
    data = ImageFolderDataModule(str(classes_dir), test_img_dir=str(tmp_path / "test"))
    data.setup("fit")
    with pytest.raises(UserError) as caught:
        data.num_test_images()
    assert str(caught.value) == (
        f"{tmp_path}/test: the label 'socks' is not a class; did you mean sock? (available: hat, sock)"
    )


def test_rows_without_name_or_label_are_reported_before_an_image_is_read(images: Path, write_csv: WriteCSV) -> None:
    problems = read_problems(write_csv("gone.png,hat", "", "2.png", ",hat"), images)
    assert problems == dict.fromkeys([2, 3, 4], "has no file name or no label")


@pytest.mark.parametrize("row", ['2.png,"sock', '"2.png,sock', '2.png,"so"ck', '2.png,"so\nck"'])
def test_an_open_quotation_mark_affects_one_row_only(images: Path, write_csv: WriteCSV, row: str) -> None:
    csv = write_csv("0.png,hat", row, "1.png,sock", '3.png,5" sock', '4.png,"sock, grey"')
    with pytest.raises(UserError, match=r"labels.csv line 2: is not valid CSV .* must be closed on its line") as caught:
        read_csv(csv, images)
    assert len(str(caught.value).splitlines()) == 1 + row.count("\n")
    csv.write_text(csv.read_text().replace(row, "2.png,so\u2028\x0cck"))
    assert read_csv(csv, images).class_names == ('5" sock', "hat", "sock", "sock, grey", "so\u2028\x0cck")


def test_a_wrong_directory_does_not_flood_the_terminal(tmp_path: Path, write_csv: WriteCSV) -> None:
    csv = write_csv(*(f"{number}.png,hat" for number in range(60)))
    with pytest.raises(UserError) as caught:
        read_csv(csv, tmp_path / "nowhere")
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{csv} line 1: {tmp_path}/nowhere/0.png is missing"
    assert len(lines) == 5


def test_images_outside_of_the_directory_are_not_read(images: Path, write_csv: WriteCSV) -> None:
    Image.new("L", (28, 28)).save(images.parent / "secret.png")
    csv = write_csv("../secret.png,hat", f"{images.parent}/secret.png,hat", "a/../../secret.png,hat", "0.png,hat")
    with pytest.raises(UserError) as caught:
        read_csv(csv, images)
    errors = str(caught.value).splitlines()
    assert len(errors) == 3
    assert all("secret.png is outside of data.img_dir" in line for line in errors)


def test_two_names_of_an_image_are_refused(images: Path, write_csv: WriteCSV) -> None:
    with pytest.raises(UserError, match=r"line 2: .*0.png is already listed as .*0.png"):
        read_csv(write_csv("0.png,hat", "./././0.png,hat"), images)
    assert len(read_csv(write_csv("..0.png,hat", "0.png,sock"), _with(images, "..0.png")).labels) == 2


def _with(images: Path, name: str) -> Path:
    Image.new("L", (28, 28)).save(images / name)
    return images


def test_cells_are_plain_text(images: Path, write_csv: WriteCSV) -> None:
    formula, number = "=cmd|' /C calc'!A0", "9" * 5000
    dataset = read_csv(write_csv(f"0.png,{formula}", f"1.png,{number}"), images)
    assert dataset.class_names == (number, formula)
    with pytest.raises(UserError, match=r"is not a class \(available: hat, sock\)"):
        read_csv(write_csv(f"0.png,{number}"), images, class_names=NAMES)


def test_files_that_would_fill_the_memory_are_refused(
    images: Path, write_csv: WriteCSV, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"line 1: is not valid CSV \(field larger than field limit"):
        read_csv(write_csv('"' + "x" * 200_000), images)
    with pytest.raises(UserError, match=r"line 6: has no file name or no label$"):
        read_csv(write_csv("0.png,hat", "\n" * 100_000), images)
    monkeypatch.setattr("fashion_mlp.data.custom_images.MAX_CLASSES", 1)
    with pytest.raises(UserError, match=r"labels.csv: number of classes is 2. Expected 2 to 1"):
        ImageCSVDataModule(str(write_csv("0.png,hat", "1.png,sock")), str(images)).setup("fit")
    sparse = images / "sparse.csv"
    with sparse.open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(UserError, match=r"1,000,000,000,000 bytes. Expected at most 100,000,000"):
        read_csv(sparse, images)


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(UserError, match=r"pipe.csv: not a file"):
        read_csv(tmp_path / "pipe.csv", tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no images. Expected lines of `file name,label`"),
        (b"\xff\xfe\x00", "cannot be read as UTF-8 text"),
        (b"\0,\0", "no images|is not valid CSV"),
        (b"x" * 5000 + b".png,hat", "cannot be read .*File name too long"),
    ],
    ids=["empty", "UTF-16", "zeros", "a long name"],
)
def test_files_that_are_not_csv(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_csv(tmp_path / "x.csv", tmp_path)
    with pytest.raises(UserError, match=r"absent.csv: not a file"):
        read_csv(tmp_path / "absent.csv", tmp_path)


def test_one_source_is_split(images: Path, write_csv: WriteCSV) -> None:
    csv = write_csv(*(f"{number}.png,{NAMES[number % 2]}" for number in range(10)))
    data = ImageCSVDataModule(str(csv), str(images), test_size=0.2, val_size=0.25, batch_size=4)
    data.setup("fit")
    data.setup("test")
    assert {split: len(dataset) for split, dataset in data.splits.items()} == {"train": 6, "val": 2, "test": 2}
    levels = [
        int(image.max())
        for dataset in data.splits.values()
        for image, _ in (dataset[index] for index in range(len(dataset)))
    ]
    assert sorted(levels) == list(range(0, 200, 20))
    assert (data.class_names, data.image_shape) == (NAMES, (1, 28, 28))


def test_each_split_has_a_source(images: Path, write_csv: WriteCSV) -> None:
    files = [
        str(write_csv(*lines, name=name))
        for name, lines in {
            "train.csv": ["0.png,hat", "1.png,sock", "2.png,hat"],
            "val.csv": ["3.png,sock"],
            "test.csv": ["4.png,sock", "5.png,hat"],
        }.items()
    ]
    data = ImageCSVDataModule(files[0], str(images), files[1], files[2], val_size=0)
    assert data.has_validation
    data.setup("fit")
    data.setup("test")
    assert [len(data.splits[split]) for split in ("train", "val", "test")] == [3, 1, 2]
    assert [int(label) for _, label in (data.splits["test"][0], data.splits["test"][1])] == [1, 0]
    assert data.identity["arguments"]["test_annotations_file"] == files[2]


@pytest.mark.parametrize(("arguments", "key"), [({"test_size": 10}, "test_size"), ({"val_size": 8}, "val_size")])
def test_a_split_without_images_is_refused(
    images: Path, write_csv: WriteCSV, arguments: dict[str, Any], key: str
) -> None:
    csv = write_csv(*(f"{number}.png,{NAMES[number % 2]}" for number in range(10)))
    with pytest.raises(UserError, match=f"data.{key}="):
        ImageCSVDataModule(str(csv), str(images), **arguments).setup("fit")


def test_a_directory_per_class(tmp_path: Path) -> None:
    garments, labels = draw_garments(20, seed=0)
    for number, (garment, label) in enumerate(zip(garments, labels, strict=True)):
        (tmp_path / f"kind{label}").mkdir(exist_ok=True)
        Image.fromarray(garment).save(tmp_path / f"kind{label}" / f"{number}.png")
    data = ImageFolderDataModule(str(tmp_path), test_size=0.5, val_size=0)
    data.setup("fit")
    data.setup("test")
    assert data.class_names == tuple(f"kind{label}" for label in range(10))
    assert torch.bincount(data.splits["test"].labels).tolist() == [1] * 10
    own = {garment.tobytes(): int(label) for garment, label in zip(garments, labels, strict=True)}
    for split in ("train", "test"):
        for index in range(10):
            image, label = data.splits[split][index]
            assert own[image.numpy().tobytes()] == int(label)


def test_invalid_directories_are_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no images. Expected one directory per class"):
        ImageFolderDataModule(str(tmp_path)).setup("fit")
    with pytest.raises(UserError, match=r"gone: cannot be read"):
        ImageFolderDataModule(str(tmp_path / "gone")).setup("fit")
    (tmp_path / "hat").mkdir()
    with pytest.raises(UserError, match=r"hat: no images"):
        ImageFolderDataModule(str(tmp_path)).setup("fit")
    (tmp_path / "hat" / "x.png").write_text("not an image")
    with pytest.raises(UserError, match=r"x.png is not an image"):
        ImageFolderDataModule(str(tmp_path)).setup("fit")
    with pytest.raises(UserError, match=r"the label 'hat' is not a class \(available: sock\)"):
        ImageFolderDataModule(str(tmp_path), class_names=["sock"]).setup("fit")


@pytest.fixture
def classes_dir(tmp_path: Path) -> Path:
    """Return a directory of two classes: hats are 0, 2, 4, 6.png, socks 1, 3, 5, 7.png; from 4 on in `old`."""
    for number in range(8):
        directory = tmp_path / "classes_dir" / NAMES[number % 2] / ("old" if number > 3 else "")
        directory.mkdir(parents=True, exist_ok=True)
        Image.new("L", (28, 28), 20 * number).save(directory / f"{number}.png")
    return tmp_path / "classes_dir"


def levels(classes_dir: Path) -> dict[str, list[int]]:
    """Return the gray levels, divided by 20, of the images of each class, in order."""
    found = ImageFolderDataModule(str(classes_dir)).load_source("train")
    numbers = [int(image.max()) // 20 for image in found.images]
    return {
        name: [number for number, label in zip(numbers, found.labels, strict=True) if label == index]
        for index, name in enumerate(found.class_names)
    }


@pytest.mark.parametrize("link", ["hat/up", "hat/old/up", "sock/old/up"])
@pytest.mark.parametrize("target", [".", "..", "../..", "hat", "hat/old"])
def test_links_that_lead_back_list_no_image_twice(classes_dir: Path, link: str, target: str) -> None:
    place = classes_dir / link
    if target.startswith("hat"):
        place = classes_dir / "hat" / Path(link).name
        target = str(classes_dir / target)
    place.symlink_to(target)
    place.with_name("up2").symlink_to(target)  # with two of them, a walk into each would never end
    assert levels(classes_dir) == {"hat": [0, 2, 4, 6], "sock": [1, 3, 5, 7]}


def test_links_to_images_and_to_the_directories_of_classes_are_followed(
    classes_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "data").mkdir()
    (classes_dir / "hat").rename(tmp_path / "data" / "hats")
    (classes_dir / "hat").symlink_to(tmp_path / "data" / "hats")
    (classes_dir / "sock" / "1.png").rename(tmp_path / "data" / "1.png")
    (classes_dir / "sock" / "1.png").symlink_to(tmp_path / "data" / "1.png")
    assert levels(classes_dir) == {"hat": [0, 2, 4, 6], "sock": [1, 3, 5, 7]}
    assert not caplog.messages
    (classes_dir / "sock" / "old").rename(tmp_path / "data" / "socks")
    (classes_dir / "sock" / "old").symlink_to(tmp_path / "data" / "socks")
    assert levels(classes_dir)["sock"] == [1, 3]
    assert "1 entries skipped" in caplog.text


def test_skipped_files_are_counted(classes_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in (".ipynb_checkpoints", "hat/.cache"):
        shutil.copytree(classes_dir / "hat" / "old", classes_dir / name)
    for name in (".DS_Store", "hat/._0.png", "README.txt", "sock/a.heic", "sock/old/b.HEIC", "sock/c", "stray.png"):
        (classes_dir / name).write_text("not an image")
    Image.new("L", (28, 28), 160).save(classes_dir / "hat" / "8.JPG")
    assert levels(classes_dir) == {"hat": [0, 2, 8, 4, 6], "sock": [1, 3, 5, 7]}
    (line,) = caplog.messages
    assert line.startswith(f"{classes_dir}: 8 entries skipped. Images end in .png, ")


def test_without_skipped_files_there_is_no_warning(classes_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    levels(classes_dir)
    assert not caplog.messages


def test_classes_are_counted_in_the_splits_that_are_set_up(classes_dir: Path, images: Path) -> None:
    data = ImageFolderDataModule(str(classes_dir), test_size=2)
    data.setup("fit")
    assert data.class_counts() == {"hat": 3, "sock": 3}
    data.setup("test")
    assert data.class_counts() == {"hat": 4, "sock": 4}
    (images / "hat").mkdir()
    (images / "0.png").rename(images / "hat" / "0.png")
    data = ImageFolderDataModule(str(classes_dir), test_img_dir=str(images))
    data.setup("fit")
    assert data.num_test_images() == 1
    assert data.class_counts() == {"hat": 4, "sock": 4}


def test_an_image_is_in_one_split(classes_dir: Path, images: Path, write_csv: WriteCSV) -> None:
    (images / "hat").mkdir()
    (images / "hat" / "other.png").symlink_to(classes_dir / "hat" / "2.png")
    data = ImageFolderDataModule(str(classes_dir), val_img_dir=str(images))
    with pytest.raises(UserError, match=r"hat/other.png is already listed as .*classes_dir/hat/2.png"):
        data.setup("fit")
    train = write_csv("0.png,hat", "1.png,sock", "2.png,sock", name="train.csv")
    test = write_csv("./2.png,sock", "3.png,hat", name="test.csv")
    csv = ImageCSVDataModule(str(train), str(images), test_annotations_file=str(test), val_size=0)
    csv.setup("fit")
    with pytest.raises(UserError, match=r"test.csv line 1: .*2.png is already listed as .*2.png"):
        csv.num_test_images()


def test_the_fingerprint_does_not_depend_on_the_directory(classes_dir: Path, tmp_path: Path) -> None:
    def files(directory: Path) -> str:
        return str(ImageFolderDataModule(str(directory)).identity["files"])

    shutil.copytree(classes_dir, tmp_path / "copy")
    assert files(tmp_path / "copy") == files(classes_dir)
    (tmp_path / "copy" / "hat" / "2.png").rename(tmp_path / "copy" / "sock" / "2.png")
    assert files(tmp_path / "copy") != files(classes_dir)


@pytest.mark.parametrize(
    ("link", "target"), [("sock/9.png", "../hat/0.png"), ("hat/z.png", "old/6.png"), ("zoo", "hat")]
)
def test_an_image_is_in_one_class_and_once(classes_dir: Path, link: str, target: str) -> None:
    (classes_dir / link).symlink_to(target)
    with pytest.raises(UserError, match=r"png is already listed as .*hat/(0|old/6).png"):
        levels(classes_dir)


def test_images_are_found_once(
    classes_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (classes_dir / "hat" / "up").symlink_to("..")
    monkeypatch.chdir(classes_dir)
    assert len(find_images([f"{classes_dir}/**/*.png"])) == 8
    found = find_images(["hat/2.png", "hat", f"{classes_dir}/hat", "sock/../hat/0.png"])
    assert found == [Path("hat/2.png"), Path("hat/0.png")]
    assert len(caplog.messages) == 2  # of `hat`, named twice: its directory `old`, and the link


def test_skipped_files_are_reported(classes_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("._0.png", "1.heic", "2.JPEG"):
        (classes_dir / "hat" / name).touch()
    assert [path.name for path in find_images([str(classes_dir / "hat")])] == ["0.png", "2.JPEG", "2.png"]
    (line,) = caplog.messages
    assert line.startswith(f"{classes_dir / 'hat'}: 3 entries skipped. ")


@pytest.mark.parametrize("option", ["image_folder", "image_csv"])
def test_a_run_resumes_after_its_images_were_moved(classes_dir: Path, run_in_process: RunCommand, option: str) -> None:
    shutil.copytree(classes_dir, "images")
    Path("val").mkdir()
    for number, name in enumerate(NAMES):
        Path("val", name).mkdir()
        Image.new("L", (28, 28), 200 + number).save(Path("val", name, f"v{number}.png"))
    keys = {"image_folder": ["data.img_dir=images", "data.val_img_dir=val"], "image_csv": ["data.img_dir=."]}[option]
    if option == "image_csv":
        keys += [f"data.{prefix}annotations_file={prefix}labels.csv" for prefix in ("", "val_")]
        for prefix, source in (("", "images"), ("val_", "val")):
            rows = [f"{path},{path.parts[1]}" for path in sorted(Path(source).rglob("*.png"))]
            Path(f"{prefix}labels.csv").write_text("\n".join(rows))
    small = ("trainer=cpu", "trainer.max_epochs=1", "model.hidden_sizes=[8]", "callbacks=lean", "logger=none")
    run = run_in_process(f"data={option}", *keys, *small, "hydra.run.dir=run", "data.test_size=2")
    assert run.returncode == 0, run.stderr
    Path("moved").mkdir()
    for path in (*Path().glob("*labels.csv"), Path("images"), Path("val")):
        path.rename("moved" / path)
    changes = [key.replace("=.", "=moved") if key.endswith("=.") else key.replace("=", "=moved/") for key in keys]
    done = run_in_process("resume=run", "trainer.max_epochs=2", *changes)
    assert done.returncode == 0, done.stderr
    Image.new("L", (28, 28), 30).save("moved/val/hat/v0.png", compress_level=0)
    changed = run_in_process("resume=run", "trainer.max_epochs=3", *changes)
    assert changed.returncode == 1
    assert "have changed since the run was started. Expected the same files" in changed.stderr
