"""A fault of the disk is told with its file, as it is typed."""

import errno
from pathlib import Path

import pytest

from fashion_mlp.commands.options import writable
from fashion_mlp.errors import UserError
from fashion_mlp.faults import faults_explained

GONE = FileNotFoundError(errno.ENOENT, "No such file or directory", b"/gone/events.out.tfevents")
"""As TensorBoard raises it."""


def test_a_path_in_bytes_is_shown_as_text(tmp_path: Path) -> None:
    told = r"^/gone/events.out.tfevents: No such file or directory; put the folder back$"
    with pytest.raises(UserError, match=told), faults_explained(tmp_path):
        raise GONE
    told = r"x: cannot be written \(No such file or directory\)$"
    with pytest.raises(UserError, match=told), writable(tmp_path / "x"):
        raise GONE
