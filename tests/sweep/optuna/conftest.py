"""Databases without waiting for the disk, and with versions that are read once."""

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session", autouse=True)
def _read_versions_once() -> Iterator[None]:
    """Keep the scripts of all versions of Optuna's database, which it would load whenever it opens one."""
    pytest.importorskip("optuna", reason="the extra [sweep] is not installed")
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    from_config = ScriptDirectory.from_config
    directories: dict[str | None, ScriptDirectory] = {}

    def load_once(config: Config) -> ScriptDirectory:
        location = config.get_main_option("script_location")
        if location not in directories:
            directories[location] = from_config(config)
        return directories[location]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", load_once)
        yield


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    sqlalchemy = pytest.importorskip("sqlalchemy", reason="the extra [sweep] is not installed")

    def relax(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", relax)
    yield
    sqlalchemy.event.remove(sqlalchemy.Engine, "connect", relax)
