"""What a viewer of a live stream sees, and when."""
