"""Plots, contact sheets and short videos."""
