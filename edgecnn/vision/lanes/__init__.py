"""Lines of the own lane: found in a map, followed over time, and what they say about where the camera is."""
