"""The Python client of the live protocol (docs/protocol.md). It shares no code with the server."""
