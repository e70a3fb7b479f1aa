"""The object store below a table: a folder, or a bucket by its URL."""

from __future__ import annotations

from collections.abc import Mapping
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
        if "://" in uri and not uri.startswith("file://"):
            names = {key.lower(): value for key, value in options.items()}
            client = {key: names.pop(name) for key, name in _client_options(names)}
            make: Any = from_url  # its stub lists each store's keys, ours are the user's
            self._store: Any = make(uri, config=names, client_options=client)
        else:
            folder = Path(uri.removeprefix("file://"))
            self._store = LocalStore(prefix=folder)

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
