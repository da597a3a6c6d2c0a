"""The client of a running Thinwire: what an edge and its cloud answer over REST, as Python objects."""

from thinwire.client.blocking import Client
from thinwire.client.overlapping import OVERLAP, Answered, in_order
from thinwire.client.waiting import AsyncClient

__all__ = ["OVERLAP", "Answered", "AsyncClient", "Client", "in_order"]
