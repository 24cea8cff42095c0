"""What may be asked about a port."""

from __future__ import annotations

import pytest

from hopx_async.protocol.ports import problem_with_path, problem_with_port


@pytest.mark.parametrize("port", [0, -1, 65536, True, "80", None, 1.0])
def test_what_is_no_port_is_refused(port: object) -> None:
    """A port is a number from 1 to 65535."""
    problem = problem_with_port(port)
    assert problem is not None
    assert problem.parameter == "port"


@pytest.mark.parametrize(
    "path", ["", "health", "/a b", "/a\r\nX: y", "/\N{EURO SIGN}", 1, "/" * 3000]
)
def test_what_is_no_path_is_refused(path: object) -> None:
    """A path begins with a slash and holds nothing that could end its line."""
    problem = problem_with_path(path)
    assert problem is not None
    assert problem.parameter == "path"


def test_ports_and_paths_pass() -> None:
    """Ports, paths and no path have no problem."""
    assert problem_with_port(1) is problem_with_port(65535) is None
    assert problem_with_path(None) is problem_with_path("/health?x=%20") is None
