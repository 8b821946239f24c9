"""The tree of errors: one base, messages that help."""

from __future__ import annotations

import re

import pytest

from edgecnn import errors
from edgecnn.errors import (
    BundleError,
    CalibrationError,
    DataError,
    EdgecnnError,
    EngineError,
    MissingEngineError,
    ModelError,
    OptionError,
    Refusal,
    SinkError,
    SourceError,
    UnsupportedError,
    VerificationError,
    unknown_name,
)

PARENTS = {
    EdgecnnError: Exception,
    ModelError: EdgecnnError,
    UnsupportedError: ModelError,
    DataError: EdgecnnError,
    CalibrationError: EdgecnnError,
    OptionError: EdgecnnError,
    BundleError: EdgecnnError,
    VerificationError: EdgecnnError,
    EngineError: EdgecnnError,
    MissingEngineError: EngineError,
    SourceError: EdgecnnError,
    errors.MissingSourceError: SourceError,
    SinkError: EdgecnnError,
}


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes():
    drawn = re.findall(r"[A-Z]\w+Error", str(errors.__doc__))
    defined = [name for name, item in vars(errors).items() if isinstance(item, type) and name.endswith("Error")]
    assert drawn == [error.__name__ for error in PARENTS]
    assert sorted(defined) == sorted(drawn)


@pytest.mark.parametrize("error", PARENTS, ids=lambda error: error.__name__)
def test_every_error_has_its_parent(error):
    assert error.__bases__ == (PARENTS[error],)


def test_unsupported_error_names_every_node_and_the_target():
    refusals = [
        Refusal("LSTM", "encoder/lstm", "It has state.", "Use convolutions."),
        Refusal("Erf", "gelu/erf", "It has no integer form.", "Use ReLU6."),
    ]
    error = UnsupportedError(refusals, target="coral")
    assert error.refusals == tuple(refusals)
    assert str(error) == (
        "2 node(s) cannot be lowered for target 'coral':\n"
        "  - LSTM 'encoder/lstm': It has state. Use convolutions.\n"
        "  - Erf 'gelu/erf': It has no integer form. Use ReLU6."
    )


def test_unsupported_error_without_a_target():
    error = UnsupportedError([Refusal("If", "branch", "It branches.", "Trace the model.")])
    assert str(error).startswith("1 node(s) cannot be lowered:\n")


def test_unknown_name_suggests_a_near_one():
    error = unknown_name("target", "rip", ["rpi", "intel", "coral"])
    assert isinstance(error, OptionError)
    assert str(error) == "unknown target 'rip'. Did you mean 'rpi'? Known: coral, intel, rpi."


def test_unknown_name_suggests_nothing_far_off():
    assert str(unknown_name("target", "zzz", ["rpi"])) == "unknown target 'zzz'. Known: rpi."
    assert str(unknown_name("recipe", "fast", [])) == "unknown recipe 'fast'. Known: none."
