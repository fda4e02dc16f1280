"""Whole runs while something that they rest on goes away: PostgreSQL, MLflow's database, room on the disk."""
