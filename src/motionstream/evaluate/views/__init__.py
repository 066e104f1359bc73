"""Scenes seen by a moving camera: poses, depth and photographs."""
