"""Measurements that run by hand: each prints a table and can write JSON."""
