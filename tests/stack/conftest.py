"""The real stack for a session, and a shop of its own for each test that wants one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stack import services
from tests.stack.connect import Form
from tests.stack.parts import StackError
from tests.stack.services import Stack
from tests.stack.shop import Shop, open_shop


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The running stack. Missing parts fail the test: skipped, the laws would go unproven."""
    stood_before = services.status() is not None
    try:
        running = services.up()
    except StackError as error:
        pytest.fail(str(error), pytrace=False)
    yield running
    if not stood_before:
        services.down()


@pytest.fixture
def shop(stack: Stack, request: pytest.FixtureRequest) -> Iterator[Shop]:
    """A stocked shop that streams enveloped JSON; another form by indirect parametrisation."""
    with open_shop(stack) as opened:
        opened.connect(getattr(request, "param", Form.ENVELOPED))
        yield opened


@pytest.fixture
def quiet_shop(stack: Stack) -> Iterator[Shop]:
    """A stocked shop without a connector, for a test that makes its own."""
    with open_shop(stack) as opened:
        yield opened
