"""Camera paths and depth → tracks."""
