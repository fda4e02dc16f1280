"""Plates with known truth: true tracks, divisions and infection times, written like a lab's own plate."""
