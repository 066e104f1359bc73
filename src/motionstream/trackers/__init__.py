"""Point trackers: OpenCV's Lucas-Kanade, and external networks that the user has installed."""
