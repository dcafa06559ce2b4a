"""The package as it is imported: its names and the examples in its docstring."""

import doctest
import logging
import pydoc
import subprocess
import sys
import warnings
from fnmatch import fnmatch
from pathlib import Path

import pytest

import fashion_mlp
from tests.conftest import ROOT


def test_examples_of_the_docstring_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.getLogger("lightning.pytorch"), "disabled", True)
    parser = doctest.DocTestParser()
    output: list[str] = []
    test = parser.get_doctest(str(fashion_mlp.__doc__), {"fashion_mlp": fashion_mlp}, "fashion_mlp", None, None)
    runner = doctest.DocTestRunner()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of a plain Trainer
        result = runner.run(test, out=output.append)
    assert result.attempted >= 9
    assert result.failed == 0, "".join(output)


def test_help_lists_every_name() -> None:
    text = pydoc.plain(pydoc.render_doc(fashion_mlp))
    for name in fashion_mlp.__all__:
        assert getattr(fashion_mlp, name).__doc__
        assert name in dir(fashion_mlp)
        assert name in text
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        fashion_mlp.nothing  # noqa: B018


def test_every_directory_of_tests_is_collected(pytestconfig: pytest.Config) -> None:
    directories = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    names = {name for directory in directories for name in directory.relative_to(ROOT).parts}
    patterns = pytestconfig.getini("norecursedirs")
    assert "build" in names
    assert [name for name in names for pattern in patterns if fnmatch(name, pattern)] == []


def test_import_does_not_import_torch() -> None:
    code = "import sys, fashion_mlp; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
