"""Values of every kind a shop's columns hold, from a random source given."""

from __future__ import annotations

import json
import random
import string
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

CENT = Decimal("0.01")
FIRST_DAY = datetime(2025, 1, 1, tzinfo=UTC)


class Values:
    """Makes values; two with the same seed make the same."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def coin(self) -> bool:
        """Heads or tails."""
        return self._rng.random() < 0.5

    def id(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))

    def money(self, low: str = "0.01", high: str = "400.00") -> Decimal:
        cents = self._rng.randint(int(Decimal(low) / CENT), int(Decimal(high) / CENT))
        return Decimal(cents) * CENT

    def moment(self) -> datetime:
        """Some microsecond of two years, in some zone; now and then a round one."""
        seconds = self._rng.randrange(2 * 365 * 86400)
        micros = self._rng.choice([0, 1, 500_000, 999_999, self._rng.randrange(1_000_000)])
        return FIRST_DAY + timedelta(seconds=seconds, microseconds=micros)

    def text(self, length: int) -> str:
        alphabet = string.ascii_letters + string.digits + ' .,;"\\\n\tßé漢🦀'
        return "".join(self._rng.choices(alphabet, k=length))

    def note(self) -> str | None:
        """Nothing, a little, or more than 2 kB, which Postgres keeps out of line."""
        kind = self._rng.choice(("none", "empty", "short", "long", "long"))
        lengths = {"empty": 0, "short": 40, "long": self._rng.randint(2500, 5000)}
        return None if kind == "none" else self.text(lengths[kind])

    def attributes(self) -> str | None:
        if self._rng.random() < 0.1:
            return None
        value: dict[str, object] = {
            "colour": self._rng.choice(("red", "blü", None)),
            "size": self._rng.choice((1, 2.50, 1e-7, 12345678901234567890)),
            "tags": [self.text(5) for _ in range(self._rng.randint(0, 3))],
            "nested": {"a": {"b": [True, False, {}]}},
        }
        if self._rng.random() < 0.2:
            value["manual"] = self.text(4000)
        return json.dumps(value, ensure_ascii=self._rng.random() < 0.5)

    def email(self) -> str:
        return f"user{self._rng.randrange(10**6)}@{self._rng.choice(('example.com', 'müller.example'))}"
