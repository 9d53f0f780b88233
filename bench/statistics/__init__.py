"""Estimates with intervals, and the verdicts that they allow."""
