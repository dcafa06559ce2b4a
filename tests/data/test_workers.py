"""With too little shared memory, a run uses fewer workers or smaller batches, and does not wait forever."""

import subprocess
import sys
from pathlib import Path

import pytest

from fashion_mlp.data import module
from tests.conftest import ROOT

UNSHARE = ["unshare", "--user", "--map-root-user", "--mount"]
CAN_MOUNT = (
    sys.platform == "linux" and subprocess.run([*UNSHARE, "true"], check=False, capture_output=True).returncode == 0
)


def test_the_number_of_workers_is_limited_by_shared_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "max_batch_bytes", lambda count, processes: 600 // (count * processes))
    assert module.limit_num_workers(2, 300) == 2
    assert not caplog.text
    assert [module.limit_num_workers(3, size) for size in (201, 301, 601)] == [2, 1, 0]
    assert module.limit_num_workers(2, 300, processes=2) == 1
    assert "data.num_workers=3: only 2 are used" in caplog.text
    monkeypatch.undo()
    monkeypatch.setattr(module, "SHARED_MEMORY", tmp_path / "missing")
    assert module.limit_num_workers(2, 10**15) == 2


@pytest.mark.slow
@pytest.mark.skipif(not CAN_MOUNT, reason="needs the permission to mount a file system")
@pytest.mark.parametrize("size", ["2m", "100k"])
def test_a_run_with_little_shared_memory_ends(tmp_path: Path, size: str) -> None:
    run = f"{sys.executable} {ROOT / 'train.py'} data=synthetic data.train_size=6000 data.num_workers=2 callbacks=lean"
    command = f"mount -t tmpfs -o size={size} tmpfs /dev/shm && {run} trainer.max_epochs=2 logger=none"
    done = subprocess.run(
        [*UNSHARE, "sh", "-c", command], cwd=tmp_path, check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "epoch 2/2" in done.stdout
    assert "data.num_workers=2: only" in done.stdout + done.stderr
