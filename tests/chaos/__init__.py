"""Chaos: real processes, a seeded schedule of disasters, and the promises checked after each. docs/decisions/0011."""
