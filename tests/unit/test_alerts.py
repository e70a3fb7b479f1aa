"""Alerts against real receivers: an HTTP server, a mail server with and without TLS, the log."""

from __future__ import annotations

import json
import logging
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import polars as pl
import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult
from typer.testing import CliRunner

from pipelines.alerts import Alerts, check_alerts, load_alerts, tell_of_trouble
from pipelines.alerts import check as checking
from pipelines.alerts.receivers import TRIES, Message, ReceiverError, send
from pipelines.alerts.trouble import Level, lasting
from pipelines.bronze import Bronze
from pipelines.cli import app
from pipelines.contract import Catalog
from pipelines.errors import ConflictError, SettingsError
from pipelines.refine import keep_quality
from pipelines.settings import load_settings
from pipelines.silver import apply
from pipelines.storage import Lake
from tests.properties.test_laws import CONTRACT, TABLE, Source, batch
from tests.unit.test_cli import Bench, event

CATALOG = Catalog(Path(), {TABLE: CONTRACT.model_copy(update={"freshness": timedelta(days=1)})})
START = datetime(2026, 1, 1, tzinfo=UTC)
NEWS = Message("Medallion: 1 began", ("FAILED RULE: <a> & b",))


def hours(number: float) -> datetime:
    return START + timedelta(hours=number)


# ---- RECEIVERS ---- #


class Hook:
    """A webhook that answers as it is told, and remembers what it was sent."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.texts: list[str] = []
        self.asked = 0
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.asked += 1
                status = hook.answers.pop(0) if hook.answers else 200
                if status == 200:
                    hook.texts.append(json.loads(body)["text"])
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return None

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/services/T0/secret"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    hook = Hook()
    yield hook
    hook.close()


class Post:
    """Takes mail and keeps it."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, list[str], str]] = []

    async def handle_DATA(self, _server, _session, envelope) -> str:  # noqa: N802
        text = envelope.content.decode()
        self.mails.append((envelope.mail_from, envelope.rcpt_tos, text))
        return "250 OK"


class Office(Controller):
    """A mail server that wants STARTTLS and a password."""

    def __init__(self, post: Post, context) -> None:
        self.context = context
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        super().__init__(post, hostname="127.0.0.1", port=port)

    def factory(self) -> SMTP:
        def login(_server, _session, _envelope, mechanism, told) -> AuthResult:
            good = (told.login, told.password) == (b"ana", b"s3cret")
            return AuthResult(success=good, handled=False)

        return SMTP(
            self.handler,
            tls_context=self.context,
            require_starttls=True,
            authenticator=login,
            auth_required=True,
        )


@pytest.fixture
def office(tmp_path: Path) -> Iterator[tuple[Post, dict]]:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    post = Post()
    controller = Office(post, context)
    controller.start()
    receiver = {
        "kind": "email",
        "host": "127.0.0.1",
        "port": controller.port,
        "ca_file": str(tmp_path / "ca.pem"),
        "sender": "lake@shop.org",
        "to": ["ana@shop.org", "ben@shop.org"],
        "username": "ana",
        "password": "s3cret",
    }
    yield post, receiver
    controller.stop()


def receiver(**told):
    return Alerts.model_validate({"receivers": {"ops": told}}).receivers["ops"]


def test_a_webhook_is_sent_the_text_that_slack_reads(hook: Hook):
    send("ops", receiver(kind="webhook", url=hook.url), NEWS)
    assert hook.texts == ["*Medallion: 1 began*\nFAILED RULE: &lt;a&gt; &amp; b"]


@pytest.mark.parametrize(
    ("answers", "asked", "sent"), [([500, 429], 3, 1), ([503] * 9, TRIES, 0), ([404], 1, 0)]
)
def test_a_broken_webhook_is_tried_a_few_times_and_its_url_not_told(
    hook: Hook, answers: list[int], asked: int, sent: int
):
    hook.answers, pauses = list(answers), list[float]()
    broken = nullcontext() if sent else pytest.raises(ReceiverError, match=str(answers[0]))
    with broken as caught:
        send("ops", receiver(kind="webhook", url=hook.url), NEWS, pauses.append)
    assert "secret" not in str(caught)
    assert (hook.asked, len(hook.texts), len(pauses)) == (asked, sent, asked - 1)


def test_a_webhook_that_nobody_listens_at_is_an_error(hook: Hook):
    hook.close()
    with pytest.raises(ReceiverError, match="ops: the webhook cannot be reached"):
        send("ops", receiver(kind="webhook", url=hook.url), NEWS, lambda _: None)


def test_mail_goes_by_starttls_with_a_password(office):
    post, told = office
    send("mail", receiver(**told), NEWS)
    ((sender, to, text),) = post.mails
    assert (sender, to) == ("lake@shop.org", ["ana@shop.org", "ben@shop.org"])
    assert "Subject: Medallion: 1 began" in text
    assert "FAILED RULE: <a> & b" in text


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"password": "wrong"}, "SMTPAuthenticationError"),
        ({"ca_file": None}, "SSLCertVerificationError"),
        ({"tls": "none", "username": None, "password": None}, "did not take it"),
    ],
)
def test_mail_that_is_refused_or_not_trusted_is_an_error_without_secrets(office, other, said):
    post, told = office
    with pytest.raises(ReceiverError, match=said) as caught:
        send("mail", receiver(**{**told, **other}), NEWS, lambda _: None)
    assert post.mails == []
    assert "wrong" not in str(caught.value)


def test_the_log_hears_each_line(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, "medallion.alerts"):
        send("log", receiver(kind="log"), NEWS)
    assert caplog.messages == ["FAILED RULE: <a> & b"]


# ---- INCIDENTS ---- #


class Shop:
    """A lake, its source, and a check of its alerts."""

    def __init__(self, root: Path, hook: Hook) -> None:
        self.lake, self.source, self.hook = Lake(str(root)), Source(), hook
        self.alerts = Alerts.model_validate(
            {
                "receivers": {"ops": {"kind": "webhook", "url": hook.url}},
                "failed_rule": {"to": ["ops"]},
                "quarantine": {"to": ["ops"], "quiet": "6 hours"},
            }
        )

    def put(self, now: datetime, *rows: tuple[int, int]) -> None:
        at = len(self.source.sent)
        self.source.transact([("put", key, cents, 1) for key, cents in rows])
        Bronze(self.lake, CATALOG).land(batch(self.source.sent[at:], at))
        apply(self.lake, CATALOG, TABLE, now=now)
        keep_quality(self.lake, CATALOG, TABLE, now, run_id="test")

    def check(self, now: datetime):
        return check_alerts(self.lake, CATALOG, self.alerts, now, pause=lambda _: None)


@pytest.fixture
def shop(tmp_path: Path, hook: Hook) -> Shop:
    return Shop(tmp_path / "lake", hook)


def test_an_incident_is_told_once_and_its_end_once(shop: Shop):
    shop.put(hours(0), (1, 100), (2, -5))
    assert shop.check(hours(0)).messages == 1
    (text,) = shop.hook.texts
    assert text.splitlines() == [
        "*Medallion: 2 began*",
        f"FAILED RULE: {TABLE}: rule 'price_range' fails on 1 of 2 rows",
        f"QUARANTINE: {TABLE}: 1 rows in quarantine, 1 more than when it was at rest",
    ]
    versions = {table: shop.lake.version(table) for table in shop.lake.tables()}
    again = shop.check(hours(1))
    assert (again.messages, again.opened, again.open_now) == (0, (), 2)
    assert {table: shop.lake.version(table) for table in shop.lake.tables()} == versions
    shop.put(hours(2), (2, 5))
    assert shop.check(hours(2)).messages == 1
    assert shop.hook.texts[1].splitlines() == [
        "*Medallion: 2 over*",
        f"OVER after 2 hours: {TABLE}: rule 'price_range'",
        f"OVER after 2 hours: {TABLE}: quarantine",
    ]
    assert shop.check(hours(3)).messages == 0
    shop.put(hours(4), (2, -6))  # a new incident of the same rule
    assert len(shop.check(hours(4)).opened) == 2


def test_a_broken_receiver_is_told_at_a_later_check(shop: Shop):
    shop.put(hours(0), (2, -5))
    shop.hook.answers = [500] * TRIES
    first = shop.check(hours(0))
    assert (first.messages, first.errors) == (0, ("ops: the webhook answered 500",))
    assert shop.check(hours(1)).messages == 1
    assert shop.check(hours(2)).messages == 0


def test_who_never_heard_of_a_beginning_hears_of_no_end(shop: Shop):
    shop.put(hours(0), (2, -5))
    shop.hook.answers = [404]
    shop.check(hours(0))
    shop.put(hours(1), (2, 5))
    assert (len(shop.check(hours(1)).over), shop.hook.texts) == (2, [])


def test_one_receiver_that_fails_keeps_no_other_from_hearing(shop: Shop, caplog):
    told = shop.alerts.model_dump()
    told["receivers"]["log"] = {"kind": "log"}
    told["failed_rule"] = {"to": ["ops", "log"]}
    shop.alerts = Alerts.model_validate(told)
    shop.put(hours(0), (2, -5))
    shop.hook.answers = [404]
    with caplog.at_level(logging.WARNING, "medallion.alerts"):
        done = shop.check(hours(0))
    assert (done.messages, len(done.errors), len(caplog.messages)) == (1, 1, 1)
    assert shop.check(hours(1)).messages == 1  # the webhook, and it alone
    assert len(caplog.messages) == 1


def test_a_crash_after_telling_is_told_again_only_when_its_claim_has_ended(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
):
    class Died(BaseException): ...

    shop.put(hours(0), (2, -5))
    told = checking.send
    with monkeypatch.context() as patch:

        def dying(*arguments, **named):
            told(*arguments, **named)
            raise Died

        patch.setattr(checking, "send", dying)
        with pytest.raises(Died):
            shop.check(hours(0))
    assert shop.check(hours(0.05)).messages == 0  # another process may be at it
    assert shop.check(hours(0.1)).messages == 1
    assert shop.check(hours(1)).messages == 0


def test_of_two_checks_at_once_one_tells(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    shop.put(hours(0), (2, -5))
    settled = checking._settled

    def late(kept, troubles, now):
        with monkeypatch.context() as patch:  # somebody else was quicker
            patch.setattr(checking, "_settled", settled)
            assert shop.check(hours(0)).messages == 1
        return settled(kept, troubles, now)

    monkeypatch.setattr(checking, "_settled", late)
    with pytest.raises(ConflictError):
        shop.check(hours(0.01))
    assert len(shop.hook.texts) == 1


def test_a_quarantine_at_rest_is_over_and_grows_anew(shop: Shop):
    shop.put(hours(0), (1, -1))
    shop.check(hours(0))
    shop.put(hours(1), (2, -1))
    assert shop.check(hours(1)).opened == ()  # the same incident
    over = shop.check(hours(7)).over
    assert over == (f"OVER after 7 hours: {TABLE}: quarantine",)
    shop.put(hours(8), (3, -1))
    (opened,) = shop.check(hours(8)).opened
    assert opened == f"QUARANTINE: {TABLE}: 3 rows in quarantine, 1 more than when it was at rest"


def test_a_level_falls_with_its_quarantine():
    level = Level(at_rest=10, rows=10, grown_at=START).after(4, hours(1), timedelta(days=1))
    assert (level.at_rest, level.rows) == (4, 4)
    grown = level.after(6, hours(2), timedelta(days=1))
    assert (grown.at_rest, grown.rows, grown.grown_at) == (4, 6, hours(2))


def test_a_table_without_news_is_stale_until_some_come(shop: Shop):
    shop.alerts = Alerts.model_validate(
        {
            **shop.alerts.model_dump(),
            "failed_rule": None,
            "quarantine": None,
            "stale": {"to": ["ops"]},
        }
    )
    assert shop.check(hours(0)).open_now == 0  # it never had an event
    shop.put(hours(0), (1, 100))
    sent_at = datetime.fromtimestamp(1_700_000_000, UTC)
    assert shop.check(sent_at + timedelta(hours=23)).open_now == 0
    (stale,) = shop.check(sent_at + timedelta(hours=25)).opened
    assert stale == f"STALE: {TABLE}: no news since 2023-11-14 22:13 UTC; the contract allows 1 day"
    assert shop.check(sent_at + timedelta(hours=26)).messages == 0
    assert len(shop.check(sent_at + timedelta(hours=12)).over) == 1


def test_durations_are_said_in_their_two_largest_units():
    assert lasting(timedelta(days=1, hours=2, minutes=3)) == "1 day 2 hours"
    assert lasting(timedelta(seconds=61)) == "1 minute 1 second"
    assert lasting(timedelta(0)) == "no time"


# ---- CONFIGURATION ---- #

GOOD = """receivers:
  ops: {kind: webhook}
  mail: {kind: email, host: smtp.shop.org, sender: lake@shop.org, to: [ana@shop.org]}
failed_rule: {to: [ops, mail]}
quarantine: {to: [ops], rows: 10, quiet: 2 days}
"""
URL = {"MEDALLION_ALERTS_OPS_URL": "https://hooks.shop.org/x"}


def loaded(folder: Path, text: str, **environment: str):
    (folder / "alerts.yaml").write_text(text)
    return load_alerts(load_settings(assets=folder, environment=environment))


def test_secrets_come_from_the_environment_and_are_not_shown(tmp_path: Path):
    secrets = {"MEDALLION_ALERTS_MAIL_USERNAME": "ana", "MEDALLION_ALERTS_MAIL_PASSWORD": "pw9"}
    alerts = loaded(tmp_path, GOOD, **URL, **secrets)
    assert alerts is not None
    assert alerts.receivers["ops"].url == URL["MEDALLION_ALERTS_OPS_URL"]
    assert alerts.receivers["mail"].address == ("smtp.shop.org", 587)
    assert alerts.quarantine is not None
    assert alerts.quarantine.quiet == timedelta(days=2)
    assert "pw9" not in repr(alerts)
    settings = load_settings(assets=tmp_path, environment={**URL, **secrets})
    assert "pw9" not in repr(settings) + str(settings)
    assert load_alerts(load_settings(assets=tmp_path / "none", environment={})) is None


@pytest.mark.parametrize(
    ("text", "environment", "said"),
    [
        (GOOD, {}, r"alerts.yaml:2: receivers.ops.url is not told\n  Hint: set MEDALLION_ALERTS_OPS_URL"),
        (GOOD + "stael: {to: [ops]}", URL, r"(?s)alerts.yaml:6: 'stael'.*did you mean 'stale'"),
        (GOOD.replace("host:", "hots:"), URL, r"(?s)receivers.mail.hots.*did you mean 'host'"),
        (GOOD.replace("[ops, mail]", "[opps]"), URL, r"no receiver 'opps'; did you mean 'ops'"),
        (GOOD.replace("2 days", "soon"), URL, r"alerts.yaml:5: quarantine.quiet: 'soon' is not a dur"),
        (GOOD.replace("webhook", "pigeon"), {}, r"alerts.yaml:2: receivers.ops.*'pigeon'"),
        (GOOD, {"MEDALLION_ALERTS_OPS_URL": "ftp://x"}, r"begins with https://"),
        (GOOD, {**URL, "MEDALLION_ALERTS_OPS_URLL": "x"}, r"(?s)of no receiver.*MEDALLION_ALERTS_OPS_URL'"),
        (GOOD.replace("sender", "tls: none, sender"), {**URL, "MEDALLION_ALERTS_MAIL_PASSWORD": "p", "MEDALLION_ALERTS_MAIL_USERNAME": "u"}, r"not sent without TLS"),
        ("[]", {}, r"alerts are a mapping"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_the_file_is_said_with_its_line(
    tmp_path: Path, text: str, environment: dict[str, str], said: str
):
    with pytest.raises(SettingsError, match=said) as caught:
        loaded(tmp_path, text, **environment)
    assert "hooks.shop.org" not in str(caught.value)


# ---- A RUN ---- #


def test_a_run_tells_and_a_broken_receiver_does_not_break_it(tmp_path: Path, hook: Hook):
    bench = Bench(tmp_path)
    bench.record(event(1, 10, None))
    (bench.assets / "alerts.yaml").write_text(
        "receivers: {ops: {kind: webhook}}\nfailed_rule: {to: [ops]}\n"
    )
    environment = {
        "MEDALLION_ASSETS": str(bench.assets),
        "MEDALLION_LAKE": str(bench.lake),
        "MEDALLION_ALERTS_OPS_URL": hook.url,
    }

    def run(*arguments: str):
        done = CliRunner().invoke(app, arguments, env=environment)
        assert done.exit_code == 0, done.output
        return done

    hook.answers = [404]
    done = run("run", "--from-file", str(bench.stream), "--json")
    assert "ops: the webhook answered 404; it is told at the next check" in " ".join(
        done.stderr.split()
    )
    assert run("alerts", "check").output.strip() == "1 incidents open; 1 messages sent"
    assert "rule 'text_required' fails on 1 of 1 rows" in hook.texts[0]
    (incident,) = json.loads(run("alerts", "list", "--json").stdout)
    assert incident["told"] == ["ops"]
    assert "ops took it" in run("alerts", "test", "ops").output
    for name in ("check", "list", "test"):
        assert f"medallion alerts {name}" in run("alerts", name, "--help").output


def test_a_broken_configuration_is_said_after_a_run_and_breaks_nothing(tmp_path: Path):
    (tmp_path / "alerts.yaml").write_text("receivers: {}")
    said = list[str]()
    settings = load_settings(assets=tmp_path, environment={})
    tell_of_trouble(settings, Lake(str(tmp_path / "lake")), CATALOG, START, said.append)
    (text,) = said
    assert "alerts.yaml:1: receivers" in text


def test_the_tables_of_alerts_hold_no_value_of_a_row(shop: Shop):
    shop.put(hours(0), (1, -98765))
    shop.check(hours(0))
    tables = ("system.main.alert_incidents", "system.main.alert_levels")
    text = "".join(str(shop.lake.scan(t).collect().to_dicts()) for t in tables)
    assert "987" not in text
    assert isinstance(shop.lake.scan(tables[0]).collect(), pl.DataFrame)
