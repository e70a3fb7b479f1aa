"""Alerts: what went wrong, told once to who wants to know, and told again when it is over."""

from pipelines.alerts.check import Checked, check_alerts, tell_of_trouble
from pipelines.alerts.configuration import Alerts, load_alerts

__all__ = ["Alerts", "Checked", "check_alerts", "load_alerts", "tell_of_trouble"]
