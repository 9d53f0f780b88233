"""Texts to score: the fixed prompt set, texts of datasets, chat templates."""
