"""What is scored: the fixed prompt set, texts of datasets, chat templates."""
