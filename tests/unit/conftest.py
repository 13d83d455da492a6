"""One line of the summary names the reference values that wait for their function."""

from ..support.golden import WAITING


def pytest_terminal_summary(terminalreporter):
    for name, cases in WAITING.items():
        if cases:
            terminalreporter.write_line(
                f"{name}: {len(cases)} not tested, function not there yet: {', '.join(cases)}"
            )
