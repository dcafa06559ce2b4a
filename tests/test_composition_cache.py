"""Tests that the cache of this test suite does not change a configuration."""

from tests.conftest import RunCommand


def test_cached_configuration_equals_that_of_a_new_process(
    run_in_process: RunCommand, run_in_new_process: RunCommand
) -> None:
    flags = "--cfg", "all"
    options = "optimizer=sgd", "experiment=fast", "~callbacks.progress_bar", "+callbacks.extra=null", "logger=[csv]"
    values = "seed=7", "optimizer.lr=${label_smoothing}", "data.root='a b'", "model.hidden_sizes=[8,4]"
    expected = run_in_new_process(*flags, *options, *values).stdout
    assert "seed: 7" in expected
    other = run_in_process(*flags, *options[:2], "seed=8").stdout
    assert "seed: 8" in other
    for _ in range(2):
        assert run_in_process(*flags, *options, *values).stdout == expected
