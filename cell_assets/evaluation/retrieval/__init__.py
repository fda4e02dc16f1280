"""Profiles of wells and treatments, and whether those that belong together find each other."""
