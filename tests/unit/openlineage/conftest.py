from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.openlineage.parts import Listening, Shop


@pytest.fixture
def listening() -> Iterator[Listening]:
    server = Listening()
    yield server
    server.stop()


@pytest.fixture
def shop(tmp_path: Path, listening: Listening) -> Shop:
    return Shop(tmp_path, f"http://127.0.0.1:{listening.port}")
