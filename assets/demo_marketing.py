"""A marketing department's months: files that platforms export, rates, a live stream, and what goes wrong with them.

Days follow the week, the season and a trend, budgets are skewed, and beside the good files there are a
correction, days that come late, a copy under another name, lines that stand twice, a campaign that nobody
described, a currency that nobody quotes, a channel that nobody named, and files as people send them: with
semicolons, without a column, with decimal commas, in another encoding, and empty.
"""

from __future__ import annotations

import csv
import io
import json
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from assets.demo_source import Record, Row

TOPIC = "adplatform.marketing.{}"
KEYS: Mapping[str, tuple[str, ...]] = {
    "channel_names": ("alias",),
    "campaigns": ("campaign_id",),
    "exchange_rates": ("currency", "day"),
    "campaign_days": ("campaign_id", "day"),
    "live_metrics": ("campaign_id", "minute"),
}

#: What platforms write, and what is meant by it.
ALIASES = {
    "Google Ads": "search", "google": "search", "Bing": "search", "Facebook": "social", "facebook ads": "social", "Instagram": "social",
    "TikTok": "social", "YouTube": "video", "Newsletter": "email", "Criteo": "display", "AWIN": "affiliate",
}  # fmt: skip
#: Of each channel: clicks by impressions, conversions by clicks, cost of a click, and the weight of Monday to Sunday.
_HABITS: Mapping[str, tuple[float, float, float, tuple[float, ...]]] = {
    "search": (0.045, 0.050, 0.90, (1.15, 1.15, 1.10, 1.10, 1.00, 0.75, 0.75)),
    "social": (0.012, 0.018, 0.40, (0.85, 0.85, 0.90, 0.95, 1.05, 1.25, 1.15)),
    "video": (0.006, 0.012, 0.25, (0.85, 0.85, 0.90, 0.95, 1.10, 1.20, 1.15)),
    "email": (0.035, 0.060, 0.05, (0.70, 1.80, 0.70, 1.60, 0.90, 0.60, 0.70)),
    "display": (0.003, 0.010, 0.20, (1.00,) * 7),
    "affiliate": (0.020, 0.040, 0.60, (0.95, 0.95, 1.00, 1.00, 1.05, 1.05, 1.00)),
    "other": (0.010, 0.015, 0.30, (1.00,) * 7),
}  # fmt: skip
_RATES = {"USD": 0.92, "GBP": 1.17, "PLN": 0.234}
_LAST = date(2026, 6, 5)


@dataclass(slots=True, kw_only=True)
class Market:
    """What is sent, and what is true of it in the end.

    `files` are the uploads in their order, by name; `truth` holds each table's rows by their key's text,
    those that wait in quarantine for good too; `aside` names the files that no table may take.
    """

    random: random.Random
    truth: dict[str, dict[str, Row]] = field(default_factory=lambda: {t: {} for t in KEYS})
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    records: list[Record] = field(default_factory=list[Record])
    aside: set[str] = field(default_factory=set[str])

    def send(self, name: str, table: str, rows: Sequence[Row], *, twice: int = 0) -> None:
        """A good file; its last `twice` lines stand in it again."""
        self.keep(table, rows)
        self.files[name] = _csv([*rows, *rows[len(rows) - twice :]])

    def keep(self, table: str, rows: Iterable[Row]) -> None:
        """The rows are what is true now."""
        for row in rows:
            self.truth[table]["/".join(str(row[name]) for name in KEYS[table])] = row

    def spoil(self, name: str, data: bytes) -> None:
        """A file that is to be set aside."""
        self.files[name] = data
        self.aside.add(name)

    def stream(self, row: Row, at: datetime) -> None:
        """A row on the live topic."""
        self.keep("live_metrics", [row])
        self._put(_key(row), json.dumps(row, default=_text).encode(), at)

    def withdraw(self, row: Row, at: datetime) -> None:
        """A minute that was told by mistake: a record without a value."""
        self.truth["live_metrics"].pop(f"{row['campaign_id']}/{row['minute']}")
        self._put(_key(row), None, at)

    def garble(self, value: bytes, at: datetime) -> None:
        """A message that is no row."""
        self._put(b'{"campaign_id":"broken"}', value, at)

    def _put(self, key: bytes, value: bytes | None, at: datetime) -> None:
        stamp = int(at.timestamp() * 1000)
        topic = TOPIC.format("live_metrics")
        self.records.append(Record(topic=topic, key=key, value=value, timestamp_ms=stamp))


def generate(
    *, seed: int = 7, days: int = 210, campaigns: int = 14, live_hours: int = 30
) -> Market:
    """Some months that end on 5 June 2026, and a live stream until the morning after; the same for the same arguments."""
    chance = random.Random(seed)  # noqa: S311 - a story, no secret
    market = Market(random=chance)
    first = _LAST - timedelta(days=days - 1)
    _describe(market, first, campaigns)
    _quote(market, first - timedelta(days=3))
    _report(market, first)
    _redescribe(market, min(20, days // 3))
    _go_wrong(market)
    _stream(market, live_hours)
    return market


# ---- WHAT IS SENT ---- #


def _describe(market: Market, first: date, count: int) -> None:
    """Channel names, and the campaigns as they were planned."""
    names = [{"alias": alias, "channel": channel} for alias, channel in ALIASES.items()]
    market.send("channel_names.csv", "channel_names", names)
    aliases, chance = list(ALIASES), market.random
    planned = list[Row]()
    for number in range(count):
        alias = aliases[number] if number < len(aliases) else chance.choice(aliases)
        starts = first + timedelta(days=chance.choice([0, 0, 0, 20, 45]))
        planned.append(
            {
                "campaign_id": f"c-{number:03}", "name": f"{chance.choice(['Spring', 'Brand', 'Always on', 'Sale', 'Launch'])} {number}", "channel": alias,
                "objective": chance.choice(["acquisition", "retention", None]), "status": "active",
                "currency": "CHF" if number == count - 1 else chance.choice(["EUR", "EUR", "EUR", "USD", "GBP", "PLN"]),
                "budget": Decimal(chance.randrange(20, 240) * 1000), "starts_on": starts, "ends_on": None, "updated_at": _at(first, 6),
            }
        )  # fmt: skip
    market.send(f"campaigns_{first}.csv", "campaigns", planned)


def _redescribe(market: Market, days: int) -> None:
    """So many days ago one was paused and one ended, and a new one runs where nobody knows."""
    held = list(market.truth["campaigns"].values())
    at = _at(_LAST - timedelta(days=days), 9)
    paused = {**held[1], "status": "paused", "updated_at": at}
    over = {
        **held[2],
        "status": "ended",
        "ends_on": max(held[2]["starts_on"], at.date()),
        "updated_at": at,
    }
    fresh = {**held[0], "campaign_id": f"c-{len(held):03}", "name": "Trial", "channel": "Threads", "currency": "EUR", "updated_at": at}  # fmt: skip
    fresh["starts_on"] = _LAST - timedelta(days=10)
    market.send(f"campaigns_{at:%Y-%m-%d}.csv", "campaigns", [paused, over, fresh])
    its_days = [_day(market, fresh, _LAST - timedelta(days=n), 1.0) for n in range(9, -1, -1)]
    market.send("campaign_days_trial.csv", "campaign_days", its_days)


def _quote(market: Market, first: date) -> None:
    """A file of exchange rates a month; banks rest at weekends."""
    rates, months = dict(_RATES), dict[str, list[Row]]()
    for number in range((_LAST - first).days + 1):
        day = first + timedelta(days=number)
        for currency in rates:
            rates[currency] *= math.exp(market.random.gauss(0, 0.003))
            if day.weekday() < 5:
                quote = Decimal(f"{rates[currency]:.6f}")
                row = {"currency": currency, "day": day, "euros_per_unit": quote}
                months.setdefault(f"{day:%Y-%m}", []).append(row)
    for month, rows in months.items():
        market.send(f"exchange_rates_{month}.csv", "exchange_rates", rows)


def _report(market: Market, first: date) -> None:
    """A file of days a week; one platform is a week late once, and corrects itself later."""
    weeks, scale = dict[str, list[Row]](), {c: min(market.random.paretovariate(1.1), 12) for c in market.truth["campaigns"]}  # fmt: skip
    for number in range((_LAST - first).days + 1):
        day = first + timedelta(days=number)
        year, week, _ = day.isocalendar()
        for campaign in market.truth["campaigns"].values():
            if campaign["starts_on"] <= day:
                row = _day(market, campaign, day, scale[campaign["campaign_id"]])
                weeks.setdefault(f"{year}-W{week:02}", []).append(row)
    names = list(weeks)
    for at, (week, rows) in enumerate(weeks.items()):
        late = [row for row in rows if at == len(names) - 4 and row["campaign_id"] == "c-002"]
        rows = [row for row in rows if row not in late]
        market.send(f"campaign_days_{week}.csv", "campaign_days", rows, twice=2 if at == 3 else 0)
        if late:
            market.send(f"campaign_days_{week}_late.csv", "campaign_days", late)
    corrected = [
        {**row, "conversions": row["conversions"] + 2, "revenue": row["revenue"] + 90}
        for row in weeks[names[-3]][:5]
        if row["clicks"] > row["conversions"] + 2
    ]
    market.send(f"campaign_days_{names[-3]}_corrected.csv", "campaign_days", corrected)


def _day(market: Market, campaign: Row, day: date, scale: float) -> Row:
    """What a campaign did on a day."""
    channel, chance = ALIASES.get(campaign["channel"], "other"), market.random
    clicked, bought, price, week = _HABITS[channel]
    season = 1 + 0.15 * math.sin(2 * math.pi * (day.timetuple().tm_yday - 30) / 365)
    trend, sale = 1 + 0.0012 * (day - _LAST).days, 1.7 if day.month == 4 and 10 <= day.day <= 14 else 1.0  # fmt: skip
    expected = 2400 * scale * season * trend * sale * week[day.weekday()]
    impressions = max(0, int(expected * math.exp(chance.gauss(0, 0.12))))
    clicks = min(impressions, _near(chance, impressions * clicked))
    conversions = min(clicks, _near(chance, clicks * bought))
    spend = Decimal(f"{clicks * price * math.exp(chance.gauss(0, 0.05)):.2f}") + Decimal("2.00")
    own = {"video": "video_views", "email": "mails_opened"}.get(channel)
    return {
        "campaign_id": campaign["campaign_id"], "day": day, "impressions": impressions, "clicks": clicks, "conversions": conversions,
        "new_customers": min(conversions, _near(chance, conversions * 0.6)), "spend": spend, "revenue": Decimal(f"{conversions * chance.uniform(38, 52):.2f}"),
        "currency": campaign["currency"], "details": json.dumps({own: impressions // 3}) if own else None,
    }  # fmt: skip


def _near(chance: random.Random, mean: float) -> int:
    """A count about a mean, as counts scatter."""
    return max(0, round(chance.gauss(mean, math.sqrt(mean))))


# ---- WHAT GOES WRONG ---- #


def _go_wrong(market: Market) -> None:
    """Files as people send them."""
    good = list(market.truth["campaign_days"].values())[-8:]
    nobody = [{**row, "campaign_id": "c-999"} for row in good[:2]]
    market.send("campaign_days_agency.csv", "campaign_days", nobody)
    again = next(name for name in market.files if name.startswith("campaign_days_"))
    market.files[again.replace(".csv", " (1).csv")] = market.files[again]
    plain = _csv(good).decode()
    market.spoil("campaign_days_excel.csv", plain.replace(",", ";").encode())
    market.spoil("campaign_days_old.csv", _csv([{n: v for n, v in row.items() if n != "spend"} for row in good]))  # fmt: skip
    market.spoil("campaign_days_germany.csv", _csv([{**row, "spend": str(row["spend"]).replace(".", ",")} for row in good]))  # fmt: skip
    market.spoil("campaign_days_bots.csv", _csv([{**row, "clicks": row["impressions"] + 1} for row in good]))  # fmt: skip
    market.spoil("campaign_days_nothing.csv", b"")
    market.spoil("channel_names_legacy.csv", "alias,channel\nRéseau,social\n".encode("cp1252"))
    market.spoil("budget_2026.csv", b"campaign_id,budget\nc-001,1\n")


def _stream(market: Market, hours: int) -> None:
    """Five minutes at a time, told twice now and then, the second time right; some messages are none."""
    end = _at(_LAST + timedelta(days=1), 6)
    running = [row for row in market.truth["campaigns"].values() if row["status"] == "active"]
    for step in range(hours * 12):
        minute = end - timedelta(minutes=5 * (hours * 12 - step))
        for campaign in running:
            row = _minute(market, campaign, minute)
            market.stream(row, minute + timedelta(minutes=1))
            if market.random.random() < 0.03:
                row = {**row, "clicks": row["clicks"] + 1, "spend": row["spend"] + Decimal("0.40")}
                market.stream(row, minute + timedelta(minutes=2))
            if market.random.random() < 0.01:
                market.stream(row, minute + timedelta(minutes=3))
    late = end - timedelta(minutes=1)
    market.withdraw(next(reversed(market.truth["live_metrics"].values())), late)
    market.stream(
        {**_minute(market, running[0], end - timedelta(minutes=7)), "campaign_id": "c-998"}, late
    )
    market.stream({**_minute(market, running[0], end - timedelta(minutes=8)), "clicks": -1}, late)
    market.garble(b"clicks=7", late)
    market.garble(b'{"campaign_id":"c-001","minute":', late)


def _minute(market: Market, campaign: Row, minute: datetime) -> Row:
    impressions = _near(market.random, 40)
    clicks = min(impressions, _near(market.random, impressions * 0.04))
    return {
        "campaign_id": campaign["campaign_id"], "minute": minute, "impressions": impressions, "clicks": clicks,
        "conversions": min(clicks, int(market.random.random() < 0.05)), "spend": Decimal(f"{clicks * 0.4:.2f}"), "currency": campaign["currency"],
    }  # fmt: skip


# ---- TEXT ---- #


def _at(day: date, hour: int) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    return str(value)


def _key(row: Row) -> bytes:
    return json.dumps({name: row[name] for name in KEYS["live_metrics"]}, default=_text).encode()


def _csv(rows: Sequence[Row]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({n: "" if v is None else _text(v) for n, v in row.items()} for row in rows)
    return out.getvalue().encode()
