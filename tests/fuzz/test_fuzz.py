"""The short form of the fuzzer: 20,000 mutants of all forms. The long one: `python -m tests.fuzz`."""

from __future__ import annotations

import pytest

from tests.fuzz.run import Plan, forms, play

MUTANTS = 20_000


@pytest.mark.slow
@pytest.mark.parametrize("form", forms())
def test_no_broken_message_harms_another_or_stops_the_rest(form: str):
    outcome = play(Plan(form, "short", MUTANTS // len(forms()), pieces=2))
    assert outcome.fault is None, outcome.fault
    assert outcome.checked > outcome.disordered + outcome.taken
    assert outcome.slowest < 600, "seconds: a message must not hang the rest"
