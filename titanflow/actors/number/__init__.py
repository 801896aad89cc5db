"""One tree a phone number, on the node that holds its lease. The only place that talks to Meta."""
