"""From camera frame to tensor, and from tensor to decision. Imports numpy and OpenCV only."""
