from __future__ import annotations

from pathlib import Path

import pytest

from edgecnn import limits
from edgecnn.boundary import boundary, described, read_bytes
from edgecnn.errors import BundleError, DataError, ModelError


class PanicException(BaseException):
    """What PyO3 makes of a panic in Rust: no `Exception`."""


@pytest.mark.parametrize(
    "error",
    [
        OverflowError("int too large to convert to float"),
        UnicodeEncodeError("utf-8", "\udc00", 0, 1, "surrogates not allowed"),
        MemoryError(),
        RecursionError("maximum recursion depth exceeded"),
        KeyError("graph"),
        ModuleNotFoundError("No module named 'edgecnn.ops.evil'"),
        TypeError("unhashable type"),
        PanicException("index out of bounds"),
    ],
)
def test_whatever_goes_wrong_becomes_the_error_that_was_promised(error: BaseException) -> None:
    with pytest.raises(BundleError, match=r"^manifest: .+\. Export it again\.$") as caught, raising(error):
        pass
    assert caught.value.__cause__ is error


def raising(error: BaseException):  # type: ignore[no-untyped-def]
    manager = boundary(BundleError, "manifest", "Export it again.")

    class Raising:
        def __enter__(self) -> None:
            manager.__enter__()

        def __exit__(self, *_: object) -> None:
            assert manager.__exit__(type(error), error, None) is not True

    return Raising()


def test_our_own_errors_pass_as_they_are() -> None:
    own = ModelError("said already.")
    with pytest.raises(ModelError) as caught, boundary(BundleError, "manifest"):
        raise own
    assert caught.value is own


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_the_end_of_the_process_passes(kind: type[BaseException]) -> None:
    with pytest.raises(kind), boundary(BundleError, "manifest"):
        raise kind


def test_an_error_is_told_in_one_short_line() -> None:
    assert described(FileNotFoundError(2, "No such file or directory", "x")) == "No such file or directory"
    assert described(ValueError("bad.")) == "bad"
    assert described(KeyError("graph")) == "KeyError ('graph')"
    assert described(MemoryError()) == "it asks for more memory than there is"
    assert described(RecursionError("maximum")) == "it is nested too deeply"
    assert len(described(ValueError("9" * 5000))) < 310


def test_a_file_is_read_as_far_as_its_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(5))
    assert read_bytes(tmp_path / "a", limits.Limit("a test", 5), DataError) == bytes(5)
    with pytest.raises(DataError, match="a: 5 bytes are more than the 4 that a test may have"):
        read_bytes(tmp_path / "a", limits.Limit("a test", 4), DataError)
    with pytest.raises(DataError, match="more than the 1000 that a test may have"):
        read_bytes(Path("/dev/zero"), limits.Limit("a test", 1000), DataError)
    with pytest.raises(DataError, match="none: cannot be read: No such file"):
        read_bytes(tmp_path / "none", limits.Limit("a test", 4), DataError)
