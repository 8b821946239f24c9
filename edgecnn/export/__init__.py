"""From the canonical integer graph to the files that runtimes load: one file (or package) a format, found by its name.

Each has ``write(graph, path, metadata)``, ``check(graph)``, which only tries, and ``read_grids(path)``.
"""
