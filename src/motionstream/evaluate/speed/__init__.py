"""The chunk step alone: its parts, the machine's ceiling, and others' code beside it."""
