"""With little shared memory, a run fetches less at once, or ends with an explanation; it does not wait forever."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.forked import run_forked

UNSHARE = ["unshare", "--user", "--map-root-user", "--mount"]
CAN_MOUNT = (
    sys.platform == "linux" and subprocess.run([*UNSHARE, "true"], check=False, capture_output=True).returncode == 0
)

# `unshare` and `mount` in this process, and then `train.py`. The first argument is the size of the shared memory.
PROGRAM = f"""
import ctypes, os, runpy, subprocess, sys
user, group = os.getuid(), os.getgid()
assert ctypes.CDLL(None).unshare(0x10000000 | 0x20000) == 0  # CLONE_NEWUSER | CLONE_NEWNS
for name, line in (("setgroups", "deny"), ("uid_map", f"0 {{user}} 1"), ("gid_map", f"0 {{group}} 1")):
    with open(f"/proc/self/{{name}}", "w") as file:
        file.write(line)
subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={{sys.argv.pop(1)}}", "tmpfs", "/dev/shm"], check=True)
sys.argv[0] = {str(ROOT / "train.py")!r}
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.skipif(not CAN_MOUNT, reason="needs the permission to mount a file system")
@pytest.mark.parametrize(
    ("size", "message"),
    [("20m", ""), ("100k", "error: data.num_workers: shared memory is full. Set data.num_workers=0")],
)
def test_a_run_with_little_shared_memory_ends(tmp_path: Path, data_root: Path, size: str, message: str) -> None:
    program = tmp_path / "with_little_shared_memory.py"
    program.write_text(PROGRAM)
    overrides = ("data=synthetic", f"data.root={data_root}", "data.train_size=6000", "data.num_workers=2")
    quick = ("callbacks=lean", "trainer.max_epochs=2", "logger=none")
    done = run_forked([size, *overrides, *quick], tmp_path, program=str(program))
    assert done.returncode == bool(message), done.stderr
    assert done.stderr.startswith(message)
    assert ("epoch 2/2" in done.stdout) == (not message)
