"""Sabotages: one safeguard of the server taken out each. The suite must go red for every one of them."""
