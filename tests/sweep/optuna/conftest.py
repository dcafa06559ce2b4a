"""Databases without waiting for the disk."""

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    sqlalchemy = pytest.importorskip("sqlalchemy", reason="the extra [sweep] is not installed")

    def relax(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", relax)
    yield
    sqlalchemy.event.remove(sqlalchemy.Engine, "connect", relax)
