"""The object store below a table: a folder, or a bucket by its URL."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, from_url

from pipelines.errors import LakeError

AlreadyThere = AlreadyExistsError


#: Options of the HTTP client, which deltalake takes among the store's own, `aws_` before some.
_CLIENT = (
    "allow_http",
    "allow_invalid_certificates",
    "connect_timeout",
    "timeout",
    "proxy_url",
    "user_agent",
)


def _client_options(options: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(key, name) for key in _CLIENT for name in (key, f"aws_{key}") if name in options]


class Store:
    """Reads and writes whole objects below one prefix.

    Raises:
        LakeError: from each method, when the store refuses.
    """

    def __init__(self, uri: str, options: Mapping[str, str]) -> None:
        self.uri = uri
        self._store = _opened(uri, tuple(sorted(options.items())))

    def names(self, prefix: str) -> list[str]:
        """The objects below a prefix, sorted."""
        try:
            return sorted(
                str(entry["path"]) for page in obstore.list(self._store, prefix) for entry in page
            )
        except (BaseError, OSError) as error:
            raise LakeError(f"{self.uri}: cannot be listed: {error}") from error

    def get(self, name: str) -> bytes:
        """An object's bytes."""
        try:
            return bytes(obstore.get(self._store, name).bytes())
        except (BaseError, OSError) as error:
            raise LakeError(f"{self.uri}/{name}: cannot be read: {error}") from error

    def part(self, name: str, start: int, length: int) -> bytes:
        """Some of an object's bytes."""
        try:
            return bytes(obstore.get_range(self._store, name, start=start, length=length))
        except (BaseError, OSError) as error:
            raise LakeError(f"{self.uri}/{name}: cannot be read: {error}") from error

    def get_if_there(self, name: str) -> bytes | None:
        """An object's bytes, None where there is no such object."""
        try:
            return bytes(obstore.get(self._store, name).bytes())
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise LakeError(f"{self.uri}/{name}: cannot be read: {error}") from error

    def mark(self, name: str) -> str | None:
        """What tells an object from another that had, or will have, its name; None where there is none."""
        try:
            told = obstore.head(self._store, name)
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise LakeError(f"{self.uri}/{name}: cannot be read: {error}") from error
        return f"{told['e_tag']}/{told['size']}/{told['last_modified']}"

    def replace(self, name: str, data: bytes) -> None:
        """Writes an object in the place of what was there: readers see the old one or the new one."""
        try:
            obstore.put(self._store, name, data, mode="overwrite")
        except (BaseError, OSError) as error:
            raise LakeError(
                f"{self.uri}/{name}: cannot be written: {error}",
                hint="is the disk full, or the store read-only?",
            ) from error

    def put(self, name: str, data: bytes) -> None:
        """Writes an object that must not be there yet.

        Raises:
            AlreadyThere: when it is; the store decides between two writers.
        """
        try:
            obstore.put(self._store, name, data, mode="create")
        except AlreadyExistsError:
            raise
        except (BaseError, OSError) as error:
            raise LakeError(
                f"{self.uri}/{name}: cannot be written: {error}", hint="is the disk full?"
            ) from error

    def folders(self, prefix: str) -> list[str]:
        """The folders directly below a prefix."""
        try:
            return sorted(
                str(name)
                for name in obstore.list_with_delimiter(self._store, prefix)["common_prefixes"]
            )
        except (BaseError, OSError) as error:
            raise LakeError(f"{self.uri}: cannot be listed: {error}") from error


#: Stores kept open: one of an object store holds its connections.
_OPEN = 1_024


def folder_of(uri: str) -> Path | None:
    """The folder that a URI names on this machine, None where it is an object store's."""
    return (
        Path(uri.removeprefix("file://")) if uri.startswith("file://") or "://" not in uri else None
    )


@lru_cache(_OPEN)
def _opened(uri: str, options: tuple[tuple[str, str], ...]) -> Any:
    folder = folder_of(uri)
    if folder is not None:
        return LocalStore(prefix=folder)
    names = {key.lower(): value for key, value in options}
    client = {key: names.pop(name) for key, name in _client_options(names)}
    make: Any = from_url  # its stub lists each store's keys, ours are the user's
    return make(uri, config=names, client_options=client)
