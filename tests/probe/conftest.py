"""A tiny LLaVA, shared by the probe's tests."""

import pytest

from fusionscope.lvlm import LVLM, miniature


@pytest.fixture(scope="session")
def llava() -> LVLM:
    return LVLM.wrap(*miniature("llava"))
