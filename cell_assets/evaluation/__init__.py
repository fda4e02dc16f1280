"""Scores that methods share: they compute numbers from arrays and tables, and never draw or write."""
