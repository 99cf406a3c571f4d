"""Fixtures of every report's tests."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def _without_real_data():
    """Who wants real data names their folder; runs of rows must not find one in the shell's environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SEGLIB_DATA", raising=False)
        yield
