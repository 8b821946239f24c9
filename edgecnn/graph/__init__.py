"""Import a model from ONNX, torch or a saved export into one in-memory graph.

Every importer returns an `onnx_ir.Model` with the same promises, which the passes rely on:

- opset 18 to 23, the standard operator set only, no functions, no control flow;
- every value has a static shape and a dtype, batch 1;
- constants are initialisers, chains of constants are folded, none holds NaN or infinity;
- node and value names are unique; operators are in inference mode.

::

    .onnx  -> onnx_file          .pt2 -> exported_program
    module -> torch_module       all  -> settle
"""

from __future__ import annotations

from edgecnn.graph.exported_program import import_exported
from edgecnn.graph.onnx_file import import_onnx
from edgecnn.graph.settle import notes, settle
from edgecnn.graph.torch_module import import_torch

__all__ = ["import_exported", "import_onnx", "import_torch", "notes", "settle"]
