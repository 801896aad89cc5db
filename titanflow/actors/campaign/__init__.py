"""One tree a running campaign on each node that serves it. Knows no number."""
