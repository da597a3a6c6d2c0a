"""The Pareto store: studies, their trials and baselines, and the fronts exported from them, in SQLite or PostgreSQL."""

from policies.store.store import Store

__all__ = ["Store"]
