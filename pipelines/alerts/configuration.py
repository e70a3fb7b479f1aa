"""Who is told of what: one YAML file, its secrets from the environment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from pipelines.contract import did_you_mean
from pipelines.contract.base import Strict
from pipelines.contract.load import line_in
from pipelines.contract.model import Duration
from pipelines.errors import SettingsError
from pipelines.settings import Settings

#: The file of a folder of contracts, where no other is named.
FILE = "alerts.yaml"


def _web(url: str) -> str:
    if not url.startswith(("https://", "http://")):
        raise ValueError("a webhook's URL begins with https:// or http://")
    return url


class Webhook(Strict):
    """Slack's incoming webhooks, and whoever takes the same: JSON with a `text`, by POST."""

    kind: Literal["webhook"]
    url: Annotated[str, AfterValidator(_web)] = Field(description="Better in the environment.")


class Email(Strict):
    """Mail by SMTP."""

    kind: Literal["email"]
    host: str = Field(min_length=1)
    port: int | None = Field(default=None, ge=1, le=65535)
    tls: Literal["starttls", "tls", "none"] = "starttls"
    ca_file: Path | None = Field(default=None, description="Certificates of one's own authority.")
    sender: str = Field(min_length=3)
    to: tuple[str, ...] = Field(min_length=1)
    username: str | None = None
    password: str | None = Field(default=None, repr=False)

    @model_validator(mode="after")
    def _no_password_in_the_clear(self) -> Email:
        if self.tls == "none" and self.password is not None:
            raise ValueError("a password is not sent without TLS")
        if (self.username is None) != (self.password is None):
            raise ValueError("a username and a password come together")
        return self

    @property
    def address(self) -> tuple[str, int]:
        """Host and port: 587 for STARTTLS, 465 for TLS, 25 for neither, unless told."""
        return self.host, self.port or {"starttls": 587, "tls": 465, "none": 25}[self.tls]


class Log(Strict):
    """The process's log, as `medallion.alerts`."""

    kind: Literal["log"]


Receiver = Annotated[Webhook | Email | Log, Field(discriminator="kind")]


class On(Strict):
    """Who is told."""

    to: tuple[str, ...] = Field(min_length=1)


class OnQuarantine(On):
    """A quarantine that holds more than `rows` rows more than it did when it last was at rest.

    It is over when they are gone, or when it has not grown for `quiet`.
    """

    rows: int = Field(default=0, ge=0)
    quiet: Duration = Field(default="1 day", validate_default=True)  # pyright: ignore[reportAssignmentType]


class Alerts(Strict):
    """The whole file."""

    receivers: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], Receiver] = Field(
        min_length=1
    )
    failed_rule: On | None = None
    quarantine: OnQuarantine | None = None
    stale: On | None = None

    @model_validator(mode="after")
    def _known_receivers(self) -> Alerts:
        for alert in (self.failed_rule, self.quarantine, self.stale):
            for name in alert.to if alert else ():
                if name not in self.receivers:
                    hint = did_you_mean(name, self.receivers)
                    raise ValueError(
                        f"there is no receiver '{name}'" + (f"; {hint}" if hint else "")
                    )
        return self


#: What a receiver may be told by the environment alone.
_SECRETS: Mapping[str, tuple[str, ...]] = {
    "webhook": ("url",),
    "email": ("username", "password"),
    "log": (),
}


def load_alerts(settings: Settings) -> Alerts | None:
    """The configuration, None where there is none.

    It is the file that MEDALLION_ALERTS names, or `alerts.yaml` beside the domains. A secret of the
    receiver `ops` is MEDALLION_ALERTS_OPS_URL, _USERNAME or _PASSWORD.

    Raises:
        SettingsError: with the file and line of each fault, and what to write instead.
    """
    path = settings.alerts or settings.assets / FILE
    if settings.alerts is None and not path.is_file():
        return None
    try:
        document = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}", hint="see MEDALLION_ALERTS") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise SettingsError(f"{path}:1: alerts are a mapping", hint="start it with 'receivers:'")
    try:
        return Alerts.model_validate(_with_secrets(document, settings.alert_secrets))
    except ValidationError as error:
        raise SettingsError(
            "\n".join(_explain(path, fault) for fault in error.errors(include_input=False))
        ) from error


def _with_secrets(document: dict[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
    """The document with each secret where its receiver has it.

    Raises:
        SettingsError: for a secret that no receiver takes.
    """
    receivers: Any = document.get("receivers")
    if not isinstance(receivers, dict):
        receivers = {}
    known = {
        f"{name}_{secret}": (name, secret)
        for name, told in receivers.items()
        if isinstance(told, dict)
        for secret in _SECRETS.get(str(told.get("kind")), ())
    }
    filled = {n: dict(told) if isinstance(told, dict) else told for n, told in receivers.items()}
    for name, value in secrets.items():
        if name not in known:
            hint = did_you_mean(f"MEDALLION_ALERTS_{name.upper()}", _variables(known))
            raise SettingsError(
                f"MEDALLION_ALERTS_{name.upper()} is of no receiver",
                hint=hint or f"known are {', '.join(_variables(known)) or 'none'}",
            )
        receiver, secret = known[name]
        filled[receiver][secret] = value
    return {**document, **({"receivers": filled} if "receivers" in document else {})}


def _variables(names: Iterable[str]) -> list[str]:
    return [f"MEDALLION_ALERTS_{name.upper()}" for name in names]


def _explain(path: Path, fault: Any) -> str:
    location: tuple[str | int, ...] = fault["loc"]
    place = ".".join(str(part) for part in location if part not in _SECRETS) or "alerts"
    line = line_in(path, tuple(part for part in location if part not in _SECRETS))
    if fault["type"] == "extra_forbidden":
        known = _keys_at(location[:-1])
        hint = did_you_mean(str(location[-1]), known) or f"the keys here are {', '.join(known)}"
        return f"{path}:{line}: '{place}' is not a key of alerts\n  Hint: {hint}"
    text = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "missing" and location[-1] in ("url",):
        name = str(location[1]).upper()
        return f"{path}:{line}: {place} is not told\n  Hint: set MEDALLION_ALERTS_{name}_URL"
    return f"{path}:{line}: {place}: {text}"


def _keys_at(location: tuple[str | int, ...]) -> list[str]:
    """The keys that are known at a place of the file."""
    models: Mapping[str | int, type[BaseModel]] = {
        "webhook": Webhook,
        "email": Email,
        "log": Log,
        "failed_rule": On,
        "quarantine": OnQuarantine,
        "stale": On,
    }
    model = models.get(location[-1], Alerts) if location else Alerts
    return list(model.model_fields)
