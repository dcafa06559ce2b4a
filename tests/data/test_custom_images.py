"""The reader's own images: from a CSV and a folder, or from a folder a class."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from fashion_mlp.data import CSVImageDataset, ImageCSVDataModule, ImageFolderDataModule
from fashion_mlp.data.garments import draw_garments
from fashion_mlp.inference.predict import find_images
from fashion_mlp.runtime.errors import UserError

NAMES = ("hat", "sock")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Return a folder with ten pictures, 0.png to 9.png, of grey levels 0, 20, ... 180."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(10):
        Image.new("L", (28, 28), 20 * number).save(folder / f"{number}.png")
    return folder


WriteCSV = Callable[..., Path]


@pytest.fixture
def write_csv(tmp_path: Path) -> WriteCSV:
    def write(*lines: str, name: str = "labels.csv") -> Path:
        path = tmp_path / name
        path.write_text("\n".join(lines))
        return path

    return write


def test_images_and_labels_in_the_order_of_the_file(images: Path, write_csv: WriteCSV) -> None:
    dataset = CSVImageDataset(write_csv("3.png,sock", "1.png,hat"), images)
    assert dataset.class_names == NAMES
    assert len(dataset) == 2
    image, label = dataset[0]
    assert (image.shape, image.dtype, label) == ((1, 28, 28), torch.uint8, 1)
    assert image.unique().tolist() == [60]


def test_transforms_are_applied_when_asked_for(images: Path, write_csv: WriteCSV) -> None:
    csv = write_csv("3.png,1", "1.png,0")
    dataset = CSVImageDataset(csv, images, transform=lambda x: x / 255, target_transform=lambda y: y + 5)
    image, label = dataset[0]
    assert image.max() == pytest.approx(60 / 255)
    assert label == 6


@pytest.mark.parametrize("first", ["file name,label", "image,class", "filename,label,comment"])
def test_a_header_is_no_image(images: Path, write_csv: WriteCSV, first: str) -> None:
    assert len(CSVImageDataset(write_csv(first, "3.png,sock", "1.png,hat"), images)) == 2
    assert len(CSVImageDataset(write_csv("3.png,sock", "1.png,hat"), images)) == 2


@pytest.mark.parametrize("name", ["gone.png", "gone.tif", "gone.heic"])
def test_an_image_on_the_first_line_is_no_header(images: Path, write_csv: WriteCSV, name: str) -> None:
    with pytest.raises(UserError, match=rf"line 1: .*{name} is missing"):
        CSVImageDataset(write_csv(f"{name},sock", "1.png,hat", "2.png,sock"), images)


def test_numbers_are_ordered_as_numbers(images: Path, write_csv: WriteCSV) -> None:
    dataset = CSVImageDataset(write_csv("0.png,10", "1.png,9", "2.png,10"), images)
    assert dataset.class_names == ("9", "10")
    assert dataset.labels.tolist() == [1, 0, 1]


def test_given_classes_are_named_or_numbered(images: Path, write_csv: WriteCSV) -> None:
    dataset = CSVImageDataset(write_csv("0.png,sock", "1.png,0"), images, class_names=NAMES)
    assert dataset.labels.tolist() == [1, 0]


def test_any_size_and_colour_are_brought_to_one(images: Path, write_csv: WriteCSV) -> None:
    Image.new("RGB", (60, 31), (255, 0, 0)).save(images / "photo.jpg")
    csv = write_csv("photo.jpg,a", "1.png,b")
    assert CSVImageDataset(csv, images, image_size=(20, 24), mode="rgb").images.shape == (2, 3, 20, 24)
    assert CSVImageDataset(csv, images).images.shape == (2, 1, 28, 28)


def test_every_bad_row_is_named_by_its_line(images: Path, write_csv: WriteCSV) -> None:
    (images / "text.png").write_text("no picture")
    csv = write_csv(
        "file,label", "0.png,hat", "gone.png,hat", "text.png,hat", "0.png,sock", "", "2.png", ",hat", "3.png,glove"
    )
    with pytest.raises(UserError) as caught:
        CSVImageDataset(csv, images, class_names=NAMES)
    told = str(caught.value).splitlines()
    assert told[-1] == "error: and 3 more"
    problems = {
        3: "gone.png is missing",
        4: "text.png is no picture",
        5: "0.png is listed on line 2 already",
        6: "is empty",
        7: "lacks a file name or a label",
        8: "lacks a file name or a label",
        9: "label 'glove' is none of hat, sock",
    }
    numbers = [int(line.partition(" line ")[2].partition(":")[0]) for line in told[:-1]]
    assert numbers == sorted(numbers)
    assert all(problems[number] in line for number, line in zip(numbers, told, strict=False))


@pytest.mark.parametrize("row", ['2.png,"sock', '"2.png,sock', '2.png,"so"ck', '2.png,"so\nck"'])
def test_a_stray_quotation_mark_takes_in_no_other_row(images: Path, write_csv: WriteCSV, row: str) -> None:
    csv = write_csv("0.png,hat", row, "1.png,sock", '3.png,5" sock', '4.png,"sock, grey"')
    with pytest.raises(UserError, match=r"labels.csv line 2: is not valid CSV .* must end on its line") as caught:
        CSVImageDataset(csv, images)
    assert len(str(caught.value).splitlines()) == 1 + row.count("\n")
    csv.write_text(csv.read_text().replace(row, "2.png,so\u2028\x0cck"))
    assert CSVImageDataset(csv, images).class_names == ('5" sock', "hat", "sock", "sock, grey", "so\u2028\x0cck")


def test_a_wrong_folder_does_not_flood_the_terminal(tmp_path: Path, write_csv: WriteCSV) -> None:
    csv = write_csv(*(f"{number}.png,hat" for number in range(60)))
    with pytest.raises(UserError, match=r"and 56 more$") as caught:
        CSVImageDataset(csv, tmp_path / "nowhere")
    assert len(str(caught.value).splitlines()) == 5


def test_images_outside_the_folder_are_refused_unread(images: Path, write_csv: WriteCSV) -> None:
    Image.new("L", (28, 28)).save(images.parent / "secret.png")
    csv = write_csv("../secret.png,hat", f"{images.parent}/secret.png,hat", "a/../../secret.png,hat", "0.png,hat")
    with pytest.raises(UserError) as caught:
        CSVImageDataset(csv, images)
    told = str(caught.value).splitlines()
    assert len(told) == 3
    assert all("secret.png is outside data.img_dir; name images by their place in it" in line for line in told)


def test_many_names_of_one_image_are_not_many_images(images: Path, write_csv: WriteCSV) -> None:
    with pytest.raises(UserError, match=r"line 2: ./././0.png is listed on line 1 already"):
        CSVImageDataset(write_csv("0.png,hat", "./././0.png,hat"), images)
    assert len(CSVImageDataset(write_csv("..0.png,hat", "0.png,hat"), _with(images, "..0.png"))) == 2


def _with(images: Path, name: str) -> Path:
    Image.new("L", (28, 28)).save(images / name)
    return images


def test_cells_are_text_and_nothing_else(images: Path, write_csv: WriteCSV) -> None:
    formula, number = "=cmd|' /C calc'!A0", "9" * 5000
    dataset = CSVImageDataset(write_csv(f"0.png,{formula}", f"1.png,{number}"), images)
    assert dataset.class_names == (number, formula)
    with pytest.raises(UserError, match=r"is none of hat, sock"):
        CSVImageDataset(write_csv(f"0.png,{number}"), images, class_names=NAMES)


def test_what_would_fill_the_memory_is_refused(
    images: Path, write_csv: WriteCSV, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"line 1: is not valid CSV \(field larger than field limit"):
        CSVImageDataset(write_csv('"' + "x" * 200_000), images)
    with pytest.raises(UserError, match=r"and 99996 more$"):
        CSVImageDataset(write_csv("0.png,hat", "\n" * 100_000), images)
    monkeypatch.setattr("fashion_mlp.data.custom_images.MAX_CLASSES", 1)
    with pytest.raises(UserError, match=r"labels.csv: has 2 classes, more than 1"):
        ImageCSVDataModule(str(write_csv("0.png,hat", "1.png,sock")), str(images)).setup("fit")
    sparse = images / "sparse.csv"
    with sparse.open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(UserError, match=r"has 1,000,000,000,000 bytes, more than 100,000,000"):
        CSVImageDataset(sparse, images)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(UserError, match=r"pipe.csv: cannot be read \(no regular file\)"):
        CSVImageDataset(tmp_path / "pipe.csv", tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "lists no images"),
        (b"\xff\xfe\x00", "is not UTF-8 text"),
        (b"\0,\0", "lists no images|is not valid CSV"),
        (b"x" * 5000 + b".png,hat", "is missing"),
    ],
    ids=["empty", "UTF-16", "zeros", "a long name"],
)
def test_files_that_are_no_csv(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        CSVImageDataset(tmp_path / "x.csv", tmp_path)
    with pytest.raises(UserError, match=r"cannot be read"):
        CSVImageDataset(tmp_path / "absent.csv", tmp_path)


def test_the_module_splits_by_parts(images: Path, write_csv: WriteCSV) -> None:
    csv = write_csv(*(f"{number}.png,{NAMES[number % 2]}" for number in range(10)))
    data = ImageCSVDataModule(str(csv), str(images), test_size=0.2, val_size=0.25, batch_size=4)
    data.setup("fit")
    data.setup("test")
    assert {part: len(dataset) for part, dataset in data.parts.items()} == {"train": 6, "val": 2, "test": 2}
    levels = [
        int(image.max())
        for dataset in data.parts.values()
        for image, _ in (dataset[index] for index in range(len(dataset)))
    ]
    assert sorted(levels) == list(range(0, 200, 20))
    assert (data.class_names, data.image_shape) == (NAMES, (1, 28, 28))


def test_the_module_takes_files_of_their_own(images: Path, write_csv: WriteCSV) -> None:
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
    assert [len(data.parts[part]) for part in ("train", "val", "test")] == [3, 1, 2]
    assert [int(label) for _, label in (data.parts["test"][0], data.parts["test"][1])] == [1, 0]
    assert data.identity["arguments"]["test_annotations_file"] == files[2]


@pytest.mark.parametrize(("arguments", "key"), [({"test_size": 10}, "test_size"), ({"val_size": 8}, "val_size")])
def test_parts_that_leave_nothing_are_refused(
    images: Path, write_csv: WriteCSV, arguments: dict[str, Any], key: str
) -> None:
    csv = write_csv(*(f"{number}.png,{NAMES[number % 2]}" for number in range(10)))
    with pytest.raises(UserError, match=f"data.{key}="):
        ImageCSVDataModule(str(csv), str(images), **arguments).setup("fit")


def test_a_folder_of_folders(tmp_path: Path) -> None:
    pictures, labels = draw_garments(20, seed=0)
    for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        (tmp_path / f"kind{label}").mkdir(exist_ok=True)
        Image.fromarray(picture).save(tmp_path / f"kind{label}" / f"{number}.png")
    data = ImageFolderDataModule(str(tmp_path), test_size=0.5, val_size=0)
    data.setup("fit")
    data.setup("test")
    assert data.class_names == tuple(f"kind{label}" for label in range(10))
    assert torch.bincount(data.parts["test"].labels).tolist() == [1] * 10
    own = {picture.tobytes(): int(label) for picture, label in zip(pictures, labels, strict=True)}
    for part in ("train", "test"):
        for index in range(10):
            image, label = data.parts[part][index]
            assert own[image.numpy().tobytes()] == int(label)


def test_bad_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no folders; expected one for each class"):
        ImageFolderDataModule(str(tmp_path)).setup("fit")
    with pytest.raises(UserError, match=r"gone: cannot be read"):
        ImageFolderDataModule(str(tmp_path / "gone")).setup("fit")
    (tmp_path / "hat").mkdir()
    with pytest.raises(UserError, match=r"hat: has no images"):
        ImageFolderDataModule(str(tmp_path)).setup("fit")
    (tmp_path / "hat" / "x.png").write_text("no picture")
    with pytest.raises(UserError, match=r"x.png is no picture"):
        ImageFolderDataModule(str(tmp_path)).setup("fit")
    with pytest.raises(UserError, match=r"hat: is none of sock"):
        ImageFolderDataModule(str(tmp_path), class_names=["sock"]).setup("fit")


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Return a folder of two classes: hats are 0, 2, 4, 6.png, socks 1, 3, 5, 7.png; those from 4 on are in `old`."""
    for number in range(8):
        folder = tmp_path / "folders" / NAMES[number % 2] / ("old" if number > 3 else "")
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (28, 28), 20 * number).save(folder / f"{number}.png")
    return tmp_path / "folders"


def levels(folders: Path) -> dict[str, list[int]]:
    """Return the grey levels, over 20, of the images of each class, in order."""
    found = ImageFolderDataModule(str(folders)).read_source(str(folders), None)
    numbers = [int(image.max()) // 20 for image in found.images]
    return {
        name: [number for number, label in zip(numbers, found.labels, strict=True) if label == index]
        for index, name in enumerate(found.class_names)
    }


@pytest.mark.parametrize("link", ["hat/up", "hat/old/up", "sock/old/up"])
@pytest.mark.parametrize("target", [".", "..", "../..", "hat", "hat/old"])
def test_links_that_lead_back_list_no_image_again(folders: Path, link: str, target: str) -> None:
    place = folders / link
    if target.startswith("hat"):
        place = folders / "hat" / Path(link).name
        target = str(folders / target)
    place.symlink_to(target)
    place.with_name("up2").symlink_to(target)  # with two of them, a walk into each would never end
    assert levels(folders) == {"hat": [0, 2, 4, 6], "sock": [1, 3, 5, 7]}


def test_links_to_folders_and_images_elsewhere_are_followed(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (folders / "hat").rename(tmp_path / "data" / "hats")
    (folders / "hat").symlink_to(tmp_path / "data" / "hats")
    (folders / "sock" / "old").rename(tmp_path / "data" / "socks")
    (folders / "sock" / "z").symlink_to(tmp_path / "data" / "socks")
    (tmp_path / "data" / "hats" / "up").symlink_to("..")  # to a folder above the class's, and so to other classes
    (tmp_path / "data" / "socks" / "up").symlink_to(folders)
    (folders / "sock" / "1.png").rename(tmp_path / "data" / "1.png")
    (folders / "sock" / "1.png").symlink_to(tmp_path / "data" / "1.png")
    assert levels(folders) == {"hat": [0, 2, 4, 6], "sock": [1, 3, 5, 7]}


def test_an_image_is_listed_once(folders: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folders / "hat" / "a.png").symlink_to("0.png")
    (folders / "hat" / "z.png").symlink_to("old/6.png")
    assert levels(folders) == {"hat": [0, 2, 6, 4], "sock": [1, 3, 5, 7]}
    assert f"{folders}: 2 entries left out (links to images that are listed already: 2)" in caplog.text


def test_what_is_left_out_is_counted_by_reason(folders: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in (".ipynb_checkpoints", "hat/.cache"):
        shutil.copytree(folders / "hat" / "old", folders / name)
    for name in (".DS_Store", "hat/._0.png", "README.txt", "sock/a.heic", "sock/old/b.HEIC", "sock/c", "stray.png"):
        (folders / name).write_text("no picture")
    Image.new("L", (28, 28), 160).save(folders / "hat" / "8.TIF")
    assert levels(folders) == {"hat": [0, 2, 8, 4, 6], "sock": [1, 3, 5, 7]}
    (line,) = caplog.messages
    assert line.startswith(f"{folders}: 9 entries left out (hidden: 4, .heic: 2, ")
    for reason in (".txt: 1", "without a suffix: 1", "outside of the classes' folders: 1"):
        assert reason in line


def test_of_a_folder_with_nothing_else_no_line_is_written(folders: Path, caplog: pytest.LogCaptureFixture) -> None:
    levels(folders)
    assert not caplog.messages


def test_classes_are_counted_in_all_sources(folders: Path, images: Path) -> None:
    data = ImageFolderDataModule(str(folders))
    data.setup("fit")
    assert data.class_counts() == {"hat": 4, "sock": 4}
    (images / "hat").mkdir()
    (images / "0.png").rename(images / "hat" / "0.png")
    data = ImageFolderDataModule(str(folders), test_img_dir=str(images))
    data.setup("fit")
    assert data.num_test_images() == 1
    assert data.class_counts() == {"hat": 5, "sock": 4}


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_an_image_is_in_one_split(
    folders: Path, images: Path, link: Callable[[Path, Path], None], write_csv: WriteCSV
) -> None:
    (images / "hat").mkdir()
    link(folders / "hat" / "2.png", images / "hat" / "other.png")
    data = ImageFolderDataModule(str(folders), val_img_dir=str(images))
    with pytest.raises(UserError, match=r"images: 1 of its images are in .*folders too, such as .*hat/other.png"):
        data.setup("fit")
    train = write_csv("0.png,hat", "1.png,sock", "2.png,sock", name="train.csv")
    test = write_csv("./2.png,sock", "3.png,hat", name="test.csv")
    csv = ImageCSVDataModule(str(train), str(images), test_annotations_file=str(test), val_size=0)
    csv.setup("fit")
    with pytest.raises(UserError, match=r"test.csv: 1 of its images are in .*train.csv too"):
        csv.num_test_images()


def test_the_files_are_recognized_wherever_they_are(folders: Path, tmp_path: Path) -> None:
    def files(folder: Path) -> str:
        return str(ImageFolderDataModule(str(folder)).identity["files"])

    shutil.copytree(folders, tmp_path / "copy")
    assert files(tmp_path / "copy") == files(folders)
    (tmp_path / "copy" / "hat" / "2.png").rename(tmp_path / "copy" / "sock" / "2.png")
    assert files(tmp_path / "copy") != files(folders)


@pytest.mark.parametrize(("link", "target"), [("sock/9.png", "../hat/0.png"), ("sock/hats", "../hat"), ("zoo", "hat")])
def test_an_image_has_one_class(folders: Path, link: str, target: str) -> None:
    (folders / link).symlink_to(target)
    with pytest.raises(UserError, match=r"png: is the same file as .*hat/0.png, which is in another class"):
        levels(folders)


def test_images_are_found_once(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folders / "hat" / "up").symlink_to("..")
    monkeypatch.chdir(folders)
    assert len(find_images([f"{folders}/**/*.png"])) == 8
    found = find_images(["hat/2.png", "hat", f"{folders}/hat", "sock/../hat/0.png"])
    assert found == [Path("hat/2.png"), Path("hat/0.png")]


def test_a_directory_of_images_may_hold_other_files(folders: Path) -> None:
    for name in ("._0.png", "1.heic", "2.TIFF"):
        (folders / "hat" / name).touch()
    assert [path.name for path in find_images([str(folders / "hat")])] == ["0.png", "2.TIFF", "2.png"]
