"""Wan backbones: published weights, VAEs and encoders of prompts and pictures."""
