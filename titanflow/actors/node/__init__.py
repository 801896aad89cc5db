"""One of each a process: lease keeper, reconciler, webhook ingestors, background work."""
