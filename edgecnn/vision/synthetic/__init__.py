"""Pictures that are drawn, not taken: what the built-in models are trained on and what cameras are imitated with.

The built-in defect model is trained on procedural surfaces: `textures` are good, `flaws` are not, `surfaces` puts
them together under a camera and a lamp. Imports numpy and OpenCV only: a device without a camera can draw them too.
"""
