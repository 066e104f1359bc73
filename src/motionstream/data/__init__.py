"""Training data: synthetic worlds with exact tracks, and real clips encoded in advance."""
