"""An inbox: a folder into which files are put, and from which each is taken once.

What was taken lies below it, under the first digits of its upload's id: in `landed` what is in bronze,
in `aside` what was set aside, with a report beside it for whoever sent it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from pipelines.contract import Catalog
from pipelines.errors import SettingsError
from pipelines.files.fault import report
from pipelines.files.upload import Uploaded, Verdict, upload
from pipelines.storage import Lake

LANDED, ASIDE = "landed", "aside"

#: Still being written, by the habits of those who copy and download.
_UNDER_WAY = (".partial", ".part", ".tmp", ".crdownload", ".filepart")

#: A file that was written to later than so long ago may not be whole.
SETTLED = timedelta(seconds=2)


def waiting(inbox: Path, now: datetime) -> list[Path]:
    """The files to be taken, the oldest first.

    Raises:
        SettingsError: when there is no such folder.
    """
    if not inbox.is_dir():
        raise SettingsError(
            f"there is no inbox at {inbox}", hint="make the folder, or name it by MEDALLION_INBOX"
        )
    latest = (now - SETTLED).timestamp()
    found = [
        (path.stat().st_mtime, path)
        for path in inbox.iterdir()
        if path.is_file()
        and not path.name.startswith(".")
        and path.suffix.lower() not in _UNDER_WAY
    ]
    return [path for written, path in sorted(found) if written <= latest]


def take_inbox(lake: Lake, catalog: Catalog, inbox: Path, *, now: datetime) -> Iterator[Uploaded]:
    """Uploads what waits, and takes each file away once it is told of.

    Raises:
        SettingsError: when there is no such folder.
        ConflictError: when another process takes the same file; what it leaves is taken next time.
    """
    for path in waiting(inbox, now):
        done = upload(lake, catalog, path, now=now)
        _put_away(path, done)
        yield done


def _put_away(path: Path, done: Uploaded) -> None:
    """Moves a file below its inbox; the report is there before the file that it is about."""
    folder = path.parent / (ASIDE if done.verdict is Verdict.SET_ASIDE else LANDED)
    folder.mkdir(exist_ok=True)
    target = folder / f"{done.upload_id[:12]}-{path.name}"
    if done.faults:
        target.with_name(f"{target.name}.report.txt").write_text(
            report(path.name, done.faults), "utf-8"
        )
    path.replace(target)
