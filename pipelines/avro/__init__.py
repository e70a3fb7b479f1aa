"""Avro in the Confluent wire format: schemas from a registry, records decoded in bulk to JSON texts."""

from pipelines.avro.registry import Registry, open_registry
from pipelines.avro.wire import Unwrapped, Wire
from pipelines.settings import Settings

__all__ = ["Registry", "Unwrapped", "Wire", "open_registry", "open_wire"]


def open_wire(settings: Settings) -> Wire:
    """What reads Avro messages with the registry that the settings name; without one, none can be read."""
    return Wire(open_registry(settings.registry, settings.registry_options))
