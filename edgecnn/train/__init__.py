"""Training: data sets and training loops, one file a task."""
