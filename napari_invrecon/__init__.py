"""Regularised inverse reconstruction for electron microscopy."""
