"""Diagnose packages, machine and configurations."""
