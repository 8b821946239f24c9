"""A page that shows what the loop does: live picture, verdicts, last events, latency, health."""
