"""How good the decisions of a bundle are: beside labels, and beside the float model it came from."""
