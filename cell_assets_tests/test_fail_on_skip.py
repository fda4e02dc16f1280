"""The option that turns skips into failures."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

_TESTS = """
import pytest

@pytest.fixture
def absent():
    pytest.skip("nothing here")

def test_passes(): pass
def test_skips(): pytest.skip("no instrument")
def test_fixture_skips(absent): pass

@pytest.mark.xfail
def test_known_fault(): assert False
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """A suite that passes, skips and fails as expected, of a file that runs and one that does not."""
    pytester.makepyfile(test_mixed=_TESTS, test_absent="import pytest\npytest.importorskip('no_such_module')")
    pytester.syspathinsert(Path(__file__).parents[1])
    return pytester


def test_skips_pass_without_the_option(suite: pytest.Pytester) -> None:
    suite.runpytest_inprocess("-p", "cell_assets_tests.fail_on_skip").assert_outcomes(
        passed=1, skipped=3, xfailed=1
    )


def test_skips_fail_with_the_option(suite: pytest.Pytester) -> None:
    result = suite.runpytest_inprocess(
        "-p", "cell_assets_tests.fail_on_skip", "--fail-on-skip", "--continue-on-collection-errors"
    )
    assert result.ret != 0
    result.assert_outcomes(passed=1, failed=1, errors=2, xfailed=1)
    result.stdout.fnmatch_lines(["*test_skips did not run: Skipped: no instrument*"])
