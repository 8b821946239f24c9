"""The device half: bundles, engines, and the proof that they agree. Imports numpy, OpenCV and one engine only."""
