"""How a range is chosen from what calibration has seen: one file an observer, found by its name.

Each file has ``choose(statistics, percentile) -> (low, high)``.
"""
