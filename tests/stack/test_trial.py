"""The trial in short: a few drawn histories on the real stack; `make trial` goes on for longer."""

from __future__ import annotations

import pytest

from tests.stack.services import Stack
from tests.stack.trial import Tally, draw, take

pytestmark = [pytest.mark.stack, pytest.mark.slow]

SEED = 1


def test_a_plan_is_drawn_the_same_again_and_keeps_its_steps_when_some_are_left_out() -> None:
    plan = draw(SEED, 3, 20)
    assert plan == draw(SEED, 3, 20) != draw(SEED, 4, 20)
    less = plan.without({0, 5})
    assert [step for step in plan.steps if step.number not in (0, 5)] == list(less.steps)


@pytest.mark.parametrize("history", range(2))
def test_every_law_holds_after_a_drawn_history(stack: Stack, history: int) -> None:
    tally = Tally()
    take(stack, draw(SEED, history, 12), tally)
    assert not tally.faults
