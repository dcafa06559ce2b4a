"""Tests of `fashion-mlp embed`."""

from pathlib import Path

from tests.cli.conftest import RunCLI


def test_embed_writes_files_for_the_projector(run_cli: RunCLI, checkpoint: Path, root: str) -> None:
    result = run_cli("embed", checkpoint, root, "--images", 50, "--output", "directory")
    assert result.out.startswith("50 test images in 32 dimensions: tensorboard --logdir directory")
    (tensors,) = Path("directory/embedding-1").rglob("tensors.tsv")
    assert len(tensors.read_text().splitlines()) == 50
    names = tensors.with_name("metadata.tsv").read_text().splitlines()
    assert (len(names), names[0]) == (51, "true\tpredicted")
    assert tensors.with_name("sprite.png").is_file()
    before = {path: path.read_bytes() for path in Path("directory").rglob("*.*")}
    assert run_cli("embed", checkpoint, root, "--output", "directory").status == 0
    assert {path: path.read_bytes() for path in before} == before
    assert Path("directory/embedding-2/projector_config.pbtxt").is_file()
    assert "PROJECTOR" in run_cli("embed", checkpoint, root).out
    assert (checkpoint.parents[1] / "embedding-1/projector_config.pbtxt").is_file()
