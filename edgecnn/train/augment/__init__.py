"""Pictures as they might have been taken as well: another light, another place of the camera, defects elsewhere.

uint8 in, uint8 out, nothing but OpenCV and numpy; everything random comes from the generator that is passed in.
"""
