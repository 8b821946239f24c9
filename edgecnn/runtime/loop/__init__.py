"""The camera loop: frames in, verdicts out, for years. It never waits for a sink and never calls a bad picture good."""
