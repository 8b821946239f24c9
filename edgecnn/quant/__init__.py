"""From a float graph in normal form and calibration frames to the canonical integer graph."""
