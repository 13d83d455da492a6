"""One line of the summary names the golden cases that wait for their objective (collected in test_golden.py)."""


def pytest_terminal_summary(terminalreporter):
    waiting = getattr(terminalreporter.config, "gsn_golden_waiting", ())
    if waiting:
        terminalreporter.write_line(
            f"golden: {len(waiting)} not tested, objective not there yet: {', '.join(waiting)}"
        )
