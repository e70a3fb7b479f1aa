"""Gold in parts: from a query's grain, which of its rows a change of its inputs can reach.

Law 4: what is computed in part equals what is computed whole. Where that cannot be shown, `NotProvable`
says why and the table is computed whole.
"""

from pipelines.incremental.errors import NotProvable
from pipelines.incremental.part import Part
from pipelines.incremental.since import part_since
from pipelines.incremental.summed import Summed

__all__ = ["NotProvable", "Part", "Summed", "part_since"]
