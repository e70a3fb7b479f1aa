"""A small client for lists of JSON objects over HTTP: paging, retries, and no value lost in a number."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from http.client import HTTPException, HTTPResponse
from typing import Any

from pipelines.contract.arrivals import Api
from pipelines.errors import PullError, SettingsError
from pipelines.settings import Settings

#: A list that is slower than this an answer is asked for in smaller pages.
_TIMEOUT_SECONDS = 60.0
#: Tries of one request; the waits between them double from one second: 15 s in all, longer than a restart behind a proxy.
_TRIES = 5
#: The longest an API may ask us to wait before the next try.
_LONGEST_WAIT_SECONDS = 120.0
_BUSY = (408, 425, 429, 500, 502, 503, 504)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """urllib would send the token to wherever a redirect leads."""

    def redirect_request(
        self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: Any
    ) -> None:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Where an API is and how to be let in; `wait` sleeps so many seconds."""

    url: str
    token: str | None = field(default=None, repr=False)
    wait: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        if urllib.parse.urlsplit(self.url).scheme not in ("http", "https"):
            raise SettingsError("an API's URL begins with https:// or http://")

    @classmethod
    def of(cls, settings: Settings, api: Api) -> Client:
        """The client of the API that a contract names.

        Raises:
            SettingsError: when nobody said where it is.
        """
        url = settings.apis.get(f"{api.name}_url")
        if url is None:
            raise SettingsError(
                f"nobody said where the API '{api.name}' is",
                hint=f"set MEDALLION_API_{api.name.upper()}_URL",
            )
        return cls(url=url.rstrip("/"), token=settings.apis.get(f"{api.name}_token"))

    def pages(self, api: Api, since: str | None) -> Iterator[list[Any]]:
        """The items of each page, of what changed since then alone where the API can tell.

        Raises:
            PullError: when a page is not to be had, or is none.
        """
        given = dict(api.parameters)
        if api.since is not None and since is not None:
            given[api.since.parameter] = since
        numbered = api.paging is not None and api.paging.cursor is None
        if numbered and api.paging is not None and api.paging.parameter is not None:
            given[api.paging.parameter] = "1"
        seen, url = set[str](), _with(f"{self.url}{api.path}", given)
        while url not in seen:
            seen.add(url)
            page = self._get(url)
            items = _items(page, api, url)
            yield items
            after = self._after(api, page, items, given, len(seen), url)
            if after is None:
                return
            url = after
        raise PullError(
            f"{_plain(url)}: its pages lead in a circle after {len(seen)}",
            hint="is 'paging.cursor' where the next page is told?",
        )

    def _after(
        self, api: Api, page: Any, items: list[Any], given: Mapping[str, str], number: int, url: str
    ) -> str | None:
        """The URL of the next page; None after the last."""
        paging = api.paging
        if paging is None:
            return None
        if paging.cursor is None:
            told = str(number + 1) if items else None
        else:
            told = _at(page, paging.cursor)
        if told in (None, ""):
            return None
        if paging.parameter is not None:
            return _with(f"{self.url}{api.path}", {**given, paging.parameter: str(told)})
        after = urllib.parse.urljoin(url, str(told))
        if urllib.parse.urlsplit(after)[:2] != urllib.parse.urlsplit(self.url)[:2]:
            raise PullError(
                f"{_plain(url)}: its next page is at another place, {_plain(after)}",
                hint="the token is for the API's own host alone",
            )
        return after

    # ---- ONE REQUEST ---- #

    def _get(self, url: str) -> Any:
        for tried in range(1, _TRIES + 1):
            try:
                return _read(self._open(url), url)
            except urllib.error.HTTPError as error:
                error.close()
                if error.code not in _BUSY or tried == _TRIES:
                    raise _refused(url, error) from error
                pause = _asked_to_wait(error) or 2.0 ** (tried - 1)
            except (OSError, HTTPException) as error:
                if tried == _TRIES:
                    why = getattr(error, "reason", None) or type(error).__name__
                    raise PullError(f"{_plain(url)}: no answer: {why}", hint="is the URL right, and the API up?") from error  # fmt: skip
                pause = 2.0 ** (tried - 1)
            self.wait(pause)
        raise AssertionError  # the last try returned or raised

    def _open(self, url: str) -> HTTPResponse:
        headers = {"Accept": "application/json", "User-Agent": "medallion"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the scheme was looked at
        return urllib.request.build_opener(_NoRedirect).open(request, timeout=_TIMEOUT_SECONDS)


def _read(response: HTTPResponse, url: str) -> Any:
    with response:
        data = response.read()
    try:
        return json.loads(data, parse_float=_exact)
    except (ValueError, RecursionError) as error:
        raise PullError(f"{_plain(url)}: its answer is no JSON", hint="is that the API, or a page for people?") from error  # fmt: skip


def _exact(text: str) -> float | str:
    """A number as a double where that is the same number, else its digits: the contract knows its type."""
    number = float(text)
    return number if Decimal(repr(number)) == Decimal(text) else text


def _refused(url: str, error: urllib.error.HTTPError) -> PullError:
    hint = {
        401: "is the token in MEDALLION_API_<NAME>_TOKEN right, and still good?",
        403: "may the token's owner read this?",
        404: "is the contract's 'api.path' right?",
    }.get(error.code)
    if error.code in (301, 302, 303, 307, 308):
        hint = "it has moved; redirects are not followed, since they would be sent the token"
    return PullError(f"{_plain(url)}: answered {error.code} {error.reason}", hint=hint)


def _asked_to_wait(error: urllib.error.HTTPError) -> float | None:
    """Seconds of Retry-After (RFC 9110, 10.2.3), as far as it is a number."""
    told = error.headers.get("Retry-After") or ""
    return min(float(told), _LONGEST_WAIT_SECONDS) if told.isdigit() else None


def _items(page: Any, api: Api, url: str) -> list[Any]:
    found = _at(page, api.items)
    if isinstance(found, list):
        return found  # pyright: ignore[reportUnknownVariableType]
    keys = ", ".join(sorted(page)) if isinstance(page, dict) else type(page).__name__  # pyright: ignore[reportUnknownArgumentType]
    raise PullError(
        f"{_plain(url)}: no list at '{api.items or 'the top'}' of its answer",
        hint=f"it has {keys}; name the list by 'api.items'",
    )


def _at(page: Any, path: str) -> Any:
    """What stands at a dotted path; None where it leads nowhere."""
    for name in path.split(".") if path else ():
        page = page.get(name) if isinstance(page, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return page  # pyright: ignore[reportUnknownVariableType]


def _with(url: str, parameters: Mapping[str, str]) -> str:
    return f"{url}?{urllib.parse.urlencode(parameters)}" if parameters else url


def _plain(url: str) -> str:
    """Without user and parameters, which may be secret."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
