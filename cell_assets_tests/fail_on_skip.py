"""`--fail-on-skip`: where everything that tests need is there, a skip hides a fault and counts as one."""

from collections.abc import Generator

import pytest

_OPTION = "--fail-on-skip"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption(_OPTION, action="store_true", help="count every skipped test as failed")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that skips, in itself or in a fixture."""
    report = yield
    # An expected failure reports itself as skipped too, and is no skip.
    if report.skipped and not hasattr(report, "wasxfail"):
        _fail(report, item.config)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A whole file that skips while it is imported."""
    report = yield
    if report.skipped:
        _fail(report, collector.config)
    return report


def _fail(report: pytest.TestReport | pytest.CollectReport, config: pytest.Config) -> None:
    if config.getoption(_OPTION):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{_OPTION}: {report.nodeid} did not run: {reason}"
