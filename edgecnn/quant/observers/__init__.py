"""How a range is chosen from what calibration has seen: one file an observer, found by its name.

Each file has ``NEEDS_HISTOGRAM`` and ``choose(statistics, percentile) -> (low, high)``.
"""
