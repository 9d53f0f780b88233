"""Recall: how well a passage is predicted that stood in the context some tokens before."""
