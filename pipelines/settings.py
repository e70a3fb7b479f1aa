"""What a process is told from outside: arguments first, then the environment, then defaults.

The only module that reads the environment. `load_settings` knows each name by which we can be
told something, so that a misspelt one is an error instead of a silence.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from pipelines.errors import SettingsError

_PREFIX = "MEDALLION_"
_PLAIN = (
    "MEDALLION_LAKE",
    "MEDALLION_BOOTSTRAP",
    "MEDALLION_ASSETS",
    "MEDALLION_ALERTS",
    "MEDALLION_REGISTRY",
    "MEDALLION_CATALOG",
    "MEDALLION_INBOX",
    "MEDALLION_EXPORTS",
    "MEDALLION_REPORTS",
    "MEDALLION_MASK_SALT",
    "MEDALLION_OPENLINEAGE_OUTBOX",
)
_KAFKA = "MEDALLION_KAFKA_"
_STORAGE = "MEDALLION_STORAGE_"
_REGISTRY = "MEDALLION_REGISTRY_"
_ALERTS = "MEDALLION_ALERTS_"
_API = "MEDALLION_API_"

_OPEN_ENDED = (_KAFKA, _STORAGE, _REGISTRY, _ALERTS, _API)

#: Names that other programs of this repository read: the test stack and Dagster's own storage.
_OTHERS = ("MEDALLION_STACK_", "MEDALLION_DAGSTER_")

#: What exactly-once rests on; a user who could change one would lose or repeat records.
_OURS: Mapping[str, str] = {
    "bootstrap.servers": "use --bootstrap or MEDALLION_BOOTSTRAP",
    "auto.offset.reset": "the lake says where to start",
    "enable.auto.commit": "the lake keeps the positions; group offsets are only reported",
    "enable.auto.offset.store": "the lake keeps the positions; group offsets are only reported",
    "enable.partition.eof": "a bounded run needs to see the end of each partition",
}

_SECRET = re.compile(
    r"password|secret|token|key|sasl|credential|signature|pem|oauth|jaas", re.IGNORECASE
)
_MASK = "***"

#: 16 characters of base64 are 96 bits: beyond guessing.
_SHORTEST_SALT = 16


class Options(Mapping[str, str]):
    """Read-only names and values that print themselves with every secret masked."""

    def __init__(self, values: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        shown = {name: _MASK if _SECRET.search(name) else value for name, value in self.items()}
        return repr(shown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where the lake, the broker and the assets are, and how to reach them.

    `lake` is a local folder or an object store URL; `kafka` are librdkafka properties, `storage`
    options of the object store. `registry` is the schema registry's URL, or a file of schemas by id.
    Printing it shows no password, key or token.
    """

    lake: str = ".lake"
    bootstrap: str | None = None
    assets: Path = field(default_factory=lambda: Path(__file__).resolve().parent.parent / "assets")
    kafka: Options = field(default_factory=Options)
    storage: Options = field(default_factory=Options)
    registry: str | None = None
    registry_options: Options = field(default_factory=Options)
    #: Who is told of what (`pipelines.alerts`), and the secrets of those who are: never printed.
    alerts: Path | None = None
    alert_secrets: Options = field(default_factory=Options)
    #: Where the pages of `medallion catalog` lie: a URL, or a folder. Dagster links each asset to its page.
    catalog: str | None = None
    #: The folder into which files to be uploaded are put (`pipelines.files`).
    inbox: Path | None = None
    #: URLs and tokens of the APIs that contracts name: `adplatform_url`, `adplatform_token`.
    apis: Options = field(default_factory=Options)
    #: The folder or object-store URL of exports; beside the layers of the lake when left out.
    exports: str | None = None
    #: The folder of reports' pages; beside the layers of a lake on this machine when left out.
    reports: Path | None = None
    #: Whether OpenLineage's own settings name a listener, and where events wait for it.
    openlineage: bool = False
    outbox: Path = field(default_factory=lambda: Path(".openlineage"))
    job_namespace: str = "medallion"

    def __post_init__(self) -> None:
        for name in self.kafka:
            if name in _OURS:
                raise SettingsError(f"Kafka option '{name}' cannot be set", hint=_OURS[name])

    def __repr__(self) -> str:
        lake = re.sub(r"//[^/@]*@", f"//{_MASK}@", re.sub(r"\?.*", f"?{_MASK}", self.lake))
        return (
            f"Settings(lake={lake!r}, bootstrap={self.bootstrap!r}, assets={str(self.assets)!r}, "
            f"kafka={self.kafka!r}, storage={self.storage!r}, registry={_without_user(self.registry)!r}, "
            f"registry_options={self.registry_options!r})"
        )

    @property
    def exports_root(self) -> str:
        """Where exports lie."""
        return self.exports or f"{self.lake.rstrip('/')}/export"

    @property
    def reports_folder(self) -> Path | None:
        """Where reports' pages lie; None where the lake is no folder and nobody said."""
        beside = None if "://" in self.lake else Path(self.lake) / "_reports"
        return self.reports or beside

    @property
    def brokers(self) -> str:
        """Kafka's bootstrap servers.

        Raises:
            SettingsError: when nobody said where Kafka is.
        """
        if not self.bootstrap:
            raise SettingsError(
                "no Kafka broker is named",
                hint="give --bootstrap HOST:PORT or set MEDALLION_BOOTSTRAP",
            )
        return self.bootstrap


def load_settings(
    *,
    lake: str | None = None,
    bootstrap: str | None = None,
    assets: str | Path | None = None,
    kafka: Iterable[str] = (),
    storage: Iterable[str] = (),
    registry: str | None = None,
    inbox: str | Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Settings of this process: what is given here wins over the environment.

    `kafka` and `storage` are lines "name=value". In the environment MEDALLION_KAFKA_SASL_USERNAME
    is librdkafka's `sasl.username`, MEDALLION_STORAGE_AWS_REGION the store's `aws_region` and
    MEDALLION_REGISTRY_BASIC_AUTH_USER_INFO the registry client's `basic.auth.user.info`. An empty variable counts as not set.

    Raises:
        SettingsError: for an unknown MEDALLION_ name, a line without "=", or an option that is ours.
    """
    given = os.environ if environment is None else environment
    ours = {name: value for name, value in given.items() if name.startswith(_PREFIX) and value}
    _refuse_unknown(ours)
    defaults = Settings()
    folder = assets or ours.get("MEDALLION_ASSETS")
    return Settings(
        lake=_without_home(lake or ours.get("MEDALLION_LAKE") or defaults.lake),
        bootstrap=bootstrap or ours.get("MEDALLION_BOOTSTRAP"),
        assets=Path(folder).expanduser() if folder else defaults.assets,
        kafka=Options({**_below(ours, _KAFKA, "."), **_lines(kafka, "--kafka")}),
        storage=Options({**_below(ours, _STORAGE, "_"), **_lines(storage, "--storage")}),
        registry=registry or ours.get("MEDALLION_REGISTRY"),
        registry_options=Options(_below(ours, _REGISTRY, ".")),
        alerts=Path(ours["MEDALLION_ALERTS"]).expanduser() if "MEDALLION_ALERTS" in ours else None,
        alert_secrets=Options(_below(ours, _ALERTS, "_")),
        catalog=ours.get("MEDALLION_CATALOG"),
        inbox=Path(inbox or ours["MEDALLION_INBOX"]).expanduser()
        if inbox or "MEDALLION_INBOX" in ours
        else None,
        exports=_expanded(ours.get("MEDALLION_EXPORTS")),
        apis=Options(_below(ours, _API, "_")),
        reports=Path(ours["MEDALLION_REPORTS"]).expanduser()
        if "MEDALLION_REPORTS" in ours
        else None,
        openlineage=_openlineage_told(given),
        outbox=_outbox(given),
        job_namespace=given.get("OPENLINEAGE_NAMESPACE") or defaults.job_namespace,
    )


def _expanded(place: str | None) -> str | None:
    return place if place is None or "://" in place else str(Path(place).expanduser())


def _openlineage_told(given: Mapping[str, str]) -> bool:
    """Whether somebody named a listener, in one of the ways that the OpenLineage client documents."""
    if given.get("OPENLINEAGE_URL") or any(n.startswith("OPENLINEAGE__TRANSPORT") for n in given):
        return True
    home = Path(given["HOME"]) if given.get("HOME") else None
    files = [
        Path(given["OPENLINEAGE_CONFIG"]) if given.get("OPENLINEAGE_CONFIG") else None,
        Path("openlineage.yml"),
        home and home / ".openlineage" / "openlineage.yml",
    ]
    return any(file is not None and file.is_file() for file in files)


def _outbox(given: Mapping[str, str]) -> Path:
    """Where events wait: a folder of this user, since a lake may be where no file can be locked."""
    if given.get("MEDALLION_OPENLINEAGE_OUTBOX"):
        return Path(given["MEDALLION_OPENLINEAGE_OUTBOX"]).expanduser()
    state = given.get("XDG_STATE_HOME") or f"{given.get('HOME') or '.'}/.local/state"
    return Path(state) / "medallion" / "openlineage"


def _refuse_unknown(ours: Mapping[str, str]) -> None:
    for name in sorted(ours):
        open_ended = name.startswith(_OTHERS) or any(
            name.startswith(prefix) and name != prefix for prefix in _OPEN_ENDED
        )
        if name in _PLAIN or open_ended:
            continue
        near = difflib.get_close_matches(name, [*_PLAIN, *_OPEN_ENDED], n=1, cutoff=0.5)
        known = ", ".join([*_PLAIN, *(f"{prefix}*" for prefix in _OPEN_ENDED)])
        raise SettingsError(
            f"environment variable {name} is not known",
            hint=f"did you mean {near[0]}?" if near else f"known are {known}",
        )


def _below(ours: Mapping[str, str], prefix: str, joint: str) -> dict[str, str]:
    """The options under a prefix, lower case, their words joined as the library spells them."""
    return {
        name.removeprefix(prefix).lower().replace("_", joint): value
        for name, value in ours.items()
        if name.startswith(prefix)
    }


def _lines(lines: Iterable[str], argument: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for line in lines:
        name, equals, value = line.partition("=")
        if not equals or not name.strip():
            # The text itself may be a secret that lost its name, so it is not shown.
            raise SettingsError(
                f"{argument} takes name=value", hint=f"for example {argument} client.id=nightly"
            )
        options[name.strip()] = value
    return options


def _without_user(url: str | None) -> str | None:
    return url and re.sub(r"//[^/@]*@", f"//{_MASK}@", url)


def _without_home(lake: str) -> str:
    """A local lake's folder in full.

    Raises:
        SettingsError: when its path has a character that a URL writes otherwise: Polars 2.1 looks
            for Delta's files under the path as the URL has it, and finds none.
    """
    if "://" in lake:
        return lake
    folder = str(Path(lake).expanduser())
    if quote(folder) != folder:
        raise SettingsError(
            f"the lake's folder '{folder}' has a space or another character that a URL escapes",
            hint="choose a folder of letters, digits, '-', '_' and '.'",
        )
    return folder


def mask_salt(environment: Mapping[str, str] | None = None) -> bytes:
    """The secret that hashes and tokens of masked columns are made with; never kept in settings.

    Raises:
        SettingsError: when there is none, or one that could be guessed.
    """
    salt = (os.environ if environment is None else environment).get("MEDALLION_MASK_SALT", "")
    if len(salt) < _SHORTEST_SALT:
        raise SettingsError(
            "MEDALLION_MASK_SALT is not set"
            if not salt
            else f"MEDALLION_MASK_SALT has fewer than {_SHORTEST_SALT} characters",
            hint="make one with 'openssl rand -hex 32', and keep it as you keep passwords",
        )
    return salt.encode()


def child_environment(**names: str) -> dict[str, str]:
    """This process's environment with some names set, for a process it starts."""
    return {**os.environ, **names}
