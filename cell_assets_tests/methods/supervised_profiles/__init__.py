"""Tests of the supervised control of profiles without learning."""
