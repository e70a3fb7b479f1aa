"""Other engines asked about Delta tables; they run in an environment of their own (`engines`)."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.stack.parts import StackError, cache_root, fetched, find_java

ROOT = Path(__file__).parents[2]
_POM, _ENGINES = Path(__file__).with_name("pom.xml"), Path(__file__).with_name("engines.py")


class Engines:
    """Spark and DuckDB, each started when it is first asked."""

    def __init__(self, asked: IO[str], answered: IO[str]) -> None:
        self._asked, self._answered = asked, answered

    def read(self, engine: str, table: Path, version: int, into: Path) -> None:
        """Writes the rows of a version as Parquet."""
        self._ask(engine, do="read", table=str(table), version=version, into=str(into))

    def merge(self, table: Path, rows: Path, key: str) -> dict[str, float]:
        """Upserts the rows of a Parquet file by Spark's MERGE: `seconds` on the clock, and of processor `cpu`."""
        return self._ask("spark", do="merge", table=str(table), rows=str(rows), key=key)

    def _ask(self, engine: str, **asked: object) -> dict[str, float]:
        print(json.dumps({"engine": engine, **asked}), file=self._asked, flush=True)
        line = self._answered.readline()
        answer = json.loads(line) if line else {"error": "it ended"}
        if "error" in answer:
            raise StackError(f"{engine} {asked}: {answer['error']}")
        return answer


@contextmanager
def started() -> Generator[Engines]:
    """The engines, fetched once a machine.

    Raises:
        StackError: when Java, Maven, uv or a registry is missing.
    """
    java = find_java()
    if java is None:
        raise StackError("Spark needs Java 17 (package default-jre-headless)")
    jars = ",".join(sorted(str(jar) for jar in (fetched(_POM) / "libs").glob("*.jar")))
    home = {"JAVA_HOME": str(Path(java).resolve().parents[1])}
    with subprocess.Popen(
        [_environment() / "bin" / "python", _ENGINES, jars],
        env={**os.environ, **home},
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Engines(process.stdin, process.stdout)
        finally:
            process.stdin.close()
            process.wait(60)


def _environment() -> Path:
    """Where the group `readers` of the lock is installed; named by the lock, so another one is another folder."""
    lock = hashlib.sha256((ROOT / "uv.lock").read_bytes()).hexdigest()[:12]
    home = cache_root() / f"readers-{lock}"
    if (home / "whole").exists():
        return home
    uv = shutil.which("uv")
    command = [uv] if uv else [sys.executable, "-m", "uv"]
    run = subprocess.run(
        [
            *command,
            "sync",
            "--frozen",
            "--quiet",
            "--only-group",
            "readers",
            "--no-install-project",
        ],
        cwd=ROOT,
        env={**os.environ, "UV_PROJECT_ENVIRONMENT": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode != 0:
        raise StackError(f"uv could not install the group 'readers':\n{run.stderr[-2000:]}")
    (home / "whole").touch()
    return home
