"""Tasks: questions with right answers, put to every file and paired with the reference's answers."""
