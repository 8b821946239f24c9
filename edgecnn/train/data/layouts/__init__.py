"""The folder layouts that are read: one file each, found by its name.

A layout file says

- ``TASKS``: the tasks that it can serve;
- ``LOOKS``: what such a folder looks like, in lines of text;
- ``fits(folder)``: whether a folder looks so, cheaply, without opening pictures;
- ``find(folder, task, good)``: the `Found` in it. ``good`` is what the user calls sound parts, often empty.

A layout knows file names, tables and labels. Whether files can be read, and sizes agree, is checked for all of them in
`edgecnn.train.data.checks`.
"""

from __future__ import annotations
