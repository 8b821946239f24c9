"""The road from above, by four points on it whose rectangle is known."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from edgecnn.errors import OptionError

Image = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]


class BirdsEye:
    """A view from above as if the road were a plane: what stands on it is smeared.

    Args:
        corners: Near left, near right, far right and far left corner of a rectangle on the road, (x, y) in pixels of
            the frame; along the road, so that near and far side are across it.
        size: (width, height) of the view; the rectangle fills its height and the middle third of its width.
        metres: (width, length) of the rectangle; without them there is no radius.

    Raises:
        OptionError: If the corners are not those of such a rectangle.
    """

    def __init__(
        self, corners: npt.ArrayLike, size: tuple[int, int] = (300, 600), metres: tuple[float, float] | None = None
    ) -> None:
        given = np.asarray(corners, np.float32)
        if given.shape != (4, 2) or not _is_convex(given):
            raise OptionError(
                "a view from above needs four points (x, y): near left, near right, far right, far left of a rectangle "
                f"on the road, got {given.tolist()}."
            )
        if min(size) < 1 or (metres is not None and min(metres) <= 0):
            raise OptionError(f"size and metres of a view from above must be above 0, got {size} and {metres}.")
        width, height = size
        first, last = width / 3, 2 * width / 3
        places = np.asarray([(first, height), (last, height), (last, 0), (first, 0)], np.float32)
        self.size = size
        self.matrix = np.asarray(cv2.getPerspectiveTransform(given, places), np.float64)
        self._scale = None if metres is None else np.array([metres[0] / (last - first), metres[1] / height])

    def view(self, frame: Image) -> Image:
        """Return the frame from above, uint8 (height, width, ...); black beyond the frame."""
        # OpenCV counts from the middles of pixels, the matrix from their corners.
        half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
        matrix = np.linalg.inv(half) @ self.matrix @ half
        return np.asarray(cv2.warpPerspective(frame, matrix, self.size, flags=cv2.INTER_LINEAR), np.uint8)

    def points(self, points: npt.ArrayLike) -> Points:
        """Map (N, 2), (x, y) in pixels of the frame, to pixels of the view; all must lie below the horizon."""
        given = np.asarray(points, np.float64).reshape(-1, 1, 2)
        return np.asarray(cv2.perspectiveTransform(given, self.matrix), np.float64).reshape(-1, 2)

    def radius(self, points: npt.ArrayLike) -> float | None:
        """Return the radius of a line at its nearest point, in metres.

        A parabola ``x = a z**2 + b z + c`` is laid through it; its curvature at ``z = 0`` is
        ``2 a / (1 + b**2)**1.5`` (that of any curve ``x(z)``: ``x'' / (1 + x'**2)**1.5``).

        Args:
            points: (N, 2), (x, y) in pixels of the frame, from near to far.

        Returns:
            Metres, above 0 where it bends to the right, infinite where it is straight; None without ``metres``, or with
            fewer than three points.
        """
        above = self.points(points)
        if self._scale is None or len(above) < 3:
            return None
        across, ahead = (np.array([1, -1]) * (above - above[0]) * self._scale).T
        a, b, _ = np.polyfit(ahead, across, 2)
        curvature = 2 * a / (1 + b**2) ** 1.5
        return float(1 / curvature) if curvature else float("inf")


def _is_convex(corners: npt.NDArray[np.float32]) -> bool:
    """Tell whether corners go round once, against the clock as one looks at the frame."""
    sides = np.roll(corners, -1, axis=0) - corners
    after = np.roll(sides, -1, axis=0)
    return bool((sides[:, 0] * after[:, 1] - sides[:, 1] * after[:, 0] < 0).all())
