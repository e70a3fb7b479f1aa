"""One long-lived process that captures, applies and builds in micro-batches, and says how it fares."""

from pipelines.follow.endpoint import serve
from pipelines.follow.follower import Follower
from pipelines.follow.refinery import Pace
from pipelines.follow.vitals import Vitals

__all__ = ["Follower", "Pace", "Vitals", "serve"]
