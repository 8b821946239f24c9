"""What to do instead of an operator that has no integer form here."""

from __future__ import annotations

RECURRENT = "Use convolutions; recurrent layers keep a state that a single frame has not."
NORMALISATION = "Use BatchNormalization, whose statistics are constants and fold into the convolution before it."
SMOOTH = "Use Relu, Relu6, HardSwish or SiLU, and fine-tune."
LOGIC = "Leave decisions such as thresholds and selection to the code behind the network."
POST = "Cut the network before its post-processing; boxes and scores are decoded on the device."
QUANTISED = "Give the float model; edgecnn quantises it itself."
RAW = "Leave it out: raw scores order classes in the same way, and Softmax can be exported."

SUGGESTIONS = {
    **dict.fromkeys(("LSTM", "GRU", "RNN"), RECURRENT),
    **dict.fromkeys(
        ("InstanceNormalization", "GroupNormalization", "LayerNormalization", "LpNormalization", "LRN"), NORMALISATION
    ),
    **dict.fromkeys(("Elu", "Selu", "Celu", "Gelu", "Mish", "Softplus", "Softsign", "Erf", "ThresholdedRelu"), SMOOTH),
    **dict.fromkeys(("Where", "Equal", "Greater", "Less", "And", "Or", "Not", "NonZero", "ArgMin", "Compress"), LOGIC),
    **dict.fromkeys(("GreaterOrEqual", "LessOrEqual", "Sign", "Xor", "IsNaN", "IsInf", "OneHot"), LOGIC),
    **dict.fromkeys(("NonMaxSuppression", "TopK", "RoiAlign", "MaxRoiPool", "GatherND", "ScatterND", "Unique"), POST),
    **dict.fromkeys(("GatherElements", "ScatterElements", "Scatter", "CumSum", "Cast"), POST),
    **dict.fromkeys(("QuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"), QUANTISED),
    **dict.fromkeys(("DynamicQuantizeLinear",), QUANTISED),
    **dict.fromkeys(("LogSoftmax", "Log"), RAW),
    "BatchNormalization": "Make its scale, bias, mean and variance constants.",
    "Div": "Divide by a constant, or multiply by a reciprocal that a layer computes.",
    "Exp": "Use Sigmoid, or decode on the device.",
    "Sqrt": "Compute it outside the network.",
    "Abs": "Use Relu(x) + Relu(-x).",
    "MatMul": "Multiply by a constant matrix only; attention has no integer form here.",
    "Einsum": "Write it as Conv or MatMul with a constant.",
    "Max": "Use Relu or Clip with constants, or MaxPool; the larger of two maps is Relu(a - b) + b.",
    "Min": "Use Clip with constants; the smaller of two maps is a - Relu(a - b).",
    "ReduceMin": "Use -ReduceMax(-x).",
    "ReduceSum": "Use ReduceMean.",
    "ReduceL2": "Use ReduceMean of the squares, and take the root outside the network.",
    "Gather": "Use a Slice; for channels in another order, order the weights of the layer before.",
    "Expand": "Leave it out: Add and Mul broadcast by themselves.",
    "Tile": "Leave it out: Add and Mul broadcast by themselves; or use Resize nearest.",
    "GridSample": "Use Resize.",
    "MaxUnpool": "Use Resize nearest or ConvTranspose.",
    "Identity": "Run the passes in the order of the pipeline.",
}


def suggestion(operator: str) -> str:
    """Return what to do instead of ``operator``, in one sentence."""
    return SUGGESTIONS.get(
        operator, "Replace it by operators of the list in the documentation, or cut the network before it."
    )
