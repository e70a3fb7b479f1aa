"""The ways out: Slack's webhook format, SMTP, the log. A receiver that fails raises one kind of error."""

from __future__ import annotations

import http.client
import json
import logging
import smtplib
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

from pipelines.alerts.configuration import Email, Log, Webhook
from pipelines.errors import MedallionError

#: Times that a message is tried before it is left for the next check.
TRIES = 3
#: Between two tries, doubled each time.
_PAUSE_SECONDS = 0.5
#: A receiver that says nothing for so long has failed.
_TIMEOUT_SECONDS = 5.0

_TOO_MANY = 429
_SERVER_ERROR = 500

log = logging.getLogger("medallion.alerts")


class ReceiverError(MedallionError):
    """A receiver did not take a message; `again` says whether it may take it later."""

    def __init__(self, message: str, *, again: bool = True) -> None:
        super().__init__(message)
        self.again = again


@dataclass(frozen=True, slots=True)
class Message:
    """What is told: a line that says it all, and a line for each trouble."""

    title: str
    lines: tuple[str, ...]


def send(
    name: str,
    receiver: Webhook | Email | Log,
    message: Message,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Hands a message to a receiver, at most `TRIES` times.

    Raises:
        ReceiverError: when it did not take it; the text names no URL, for that may be a secret.
    """
    for tried in range(TRIES):
        try:
            _send_once(name, receiver, message)
        except ReceiverError as error:
            if not error.again or tried == TRIES - 1:
                raise
            pause(_PAUSE_SECONDS * 2**tried)
        else:
            return


def _send_once(name: str, receiver: Webhook | Email | Log, message: Message) -> None:
    match receiver:
        case Webhook():
            _post(name, receiver, message)
        case Email():
            _mail(name, receiver, message)
        case Log():
            for line in message.lines:
                log.warning("%s", line)


def _post(name: str, receiver: Webhook, message: Message) -> None:
    text = "\n".join([f"*{_escaped(message.title)}*", *map(_escaped, message.lines)])
    request = urllib.request.Request(  # noqa: S310 - the configuration lets only the web in
        receiver.url,
        data=json.dumps({"text": text}).encode(),
        headers={"Content-Type": "application/json", "User-Agent": "medallion"},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310
            answer.read(1024)
    except urllib.error.HTTPError as error:
        again = error.code == _TOO_MANY or error.code >= _SERVER_ERROR
        error.close()
        raise ReceiverError(f"{name}: the webhook answered {error.code}", again=again) from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ReceiverError(
            f"{name}: the webhook cannot be reached: {type(reason).__name__}"
        ) from None


def _escaped(text: str) -> str:
    """Slack's three characters that would begin something else."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _mail(name: str, receiver: Email, message: Message) -> None:
    mail = EmailMessage()
    mail["Subject"], mail["From"] = message.title, receiver.sender
    mail["To"], mail["Date"] = ", ".join(receiver.to), formatdate()
    mail["Message-ID"] = make_msgid(domain=receiver.sender.rpartition("@")[2] or None)
    mail.set_content("\n".join(message.lines) + "\n")
    try:
        with _connected(receiver) as server:
            if receiver.username is not None and receiver.password is not None:
                server.login(receiver.username, receiver.password)
            server.send_message(mail)
    except (smtplib.SMTPAuthenticationError, smtplib.SMTPNotSupportedError) as error:
        raise ReceiverError(
            f"{name}: the mail server refuses: {type(error).__name__}", again=False
        ) from None
    except (smtplib.SMTPException, OSError) as error:
        code = getattr(error, "smtp_code", "")
        raise ReceiverError(
            f"{name}: the mail server did not take it: {type(error).__name__} {code}".rstrip()
        ) from None


def _connected(receiver: Email) -> smtplib.SMTP:
    host, port = receiver.address
    if receiver.tls == "none":
        return smtplib.SMTP(host, port, timeout=_TIMEOUT_SECONDS)
    context = ssl.create_default_context(cafile=receiver.ca_file)
    if receiver.tls == "tls":
        return smtplib.SMTP_SSL(host, port, timeout=_TIMEOUT_SECONDS, context=context)
    server = smtplib.SMTP(host, port, timeout=_TIMEOUT_SECONDS)
    try:
        server.starttls(context=context)
    except BaseException:
        server.close()
        raise
    return server
