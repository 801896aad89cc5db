"""Breaks the supervision kernel on purpose and checks that the recorded scenarios notice."""
