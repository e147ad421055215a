"""Heads and backbones trained under one budget, then counted and timed."""
