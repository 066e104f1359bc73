"""Points followed through videos: OpenCV's Lucas-Kanade, and published trackers that a user has."""
