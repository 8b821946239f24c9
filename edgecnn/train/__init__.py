"""Training: data sets and training loops, one file a task.

The built-in defect model is trained on procedural surfaces: `textures` are good, `flaws` are not, `surfaces` puts
them together under a camera and a lamp.
"""
