from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipelines.capture.embedded import EmbeddedBroker


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as embedded:
        yield embedded
