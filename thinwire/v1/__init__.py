"""Stubs generated from ``proto/thinwire/v1`` by ``make proto``; do not edit."""
