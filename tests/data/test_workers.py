"""With little shared memory, a run fetches less at once, or ends with an explanation; it does not wait forever."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

UNSHARE = ["unshare", "--user", "--map-root-user", "--mount"]
CAN_MOUNT = (
    sys.platform == "linux" and subprocess.run([*UNSHARE, "true"], check=False, capture_output=True).returncode == 0
)


@pytest.mark.slow
@pytest.mark.skipif(not CAN_MOUNT, reason="needs the permission to mount a file system")
@pytest.mark.parametrize(
    ("size", "message"),
    [("20m", ""), ("100k", "error: data.num_workers: shared memory is full. Set data.num_workers=0")],
)
def test_a_run_with_little_shared_memory_ends(tmp_path: Path, size: str, message: str) -> None:
    overrides = f"data=synthetic data.root={tmp_path} data.train_size=6000 data.num_workers=2"
    run = f"{sys.executable} {ROOT / 'train.py'} {overrides} callbacks=lean trainer.max_epochs=2 logger=none"
    command = f"mount -t tmpfs -o size={size} tmpfs /dev/shm && {run}"
    done = subprocess.run(
        [*UNSHARE, "sh", "-c", command], cwd=tmp_path, check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == bool(message), done.stderr
    assert done.stderr.startswith(message)
    assert ("epoch 2/2" in done.stdout) == (not message)
