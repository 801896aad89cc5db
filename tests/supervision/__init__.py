"""Tests of the supervision kernel beyond the recorded scenarios."""
