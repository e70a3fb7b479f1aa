"""Processes and parts: what needs no stack to be tried."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.stack import parts, processes
from tests.stack.parts import StackError


def test_a_process_is_known_by_its_pid_file_and_stopped_by_it(tmp_path: Path) -> None:
    processes.spawn(tmp_path, "sleeper", ["sleep", "60"])
    pid = processes.running(tmp_path, "sleeper")
    assert pid is not None
    assert processes.stop(tmp_path, "sleeper")
    assert processes.running(tmp_path, "sleeper") is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not processes.stop(tmp_path, "sleeper")


def test_a_pid_that_now_belongs_to_another_process_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kafka.pid").write_text(f"{os.getpid()} 1\n")
    assert processes.running(tmp_path, "kafka") is None
    assert not processes.stop(tmp_path, "kafka", with_signal=signal.SIGKILL)


@pytest.mark.parametrize("text", ["", "7", "not a pid at all"])
def test_a_torn_pid_file_means_nothing_runs(tmp_path: Path, text: str) -> None:
    (tmp_path / "kafka.pid").write_text(text)
    assert processes.running(tmp_path, "kafka") is None


def test_a_process_that_dies_is_reported_with_its_last_words(tmp_path: Path) -> None:
    processes.spawn(tmp_path, "broken", ["sh", "-c", "echo no such luck; exit 3"])
    with pytest.raises(StackError, match=r"The thing died(?s:.)*no such luck"):
        processes.wait_until(
            lambda: False, what="The thing", seconds=10, run=tmp_path, name="broken"
        )
    processes.stop(tmp_path, "broken")


def test_all_missing_parts_are_named_with_their_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("MEDALLION_STACK_CACHE", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(StackError) as raised:
        parts.find_parts()
    for word in ("java 17", "mvn (package maven)", "apt-get install"):
        assert word in str(raised.value)
