"""`motionstream bench live`: frame rate and latency of a live stream, in this process or through the server."""
