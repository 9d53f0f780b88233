"""Tasks: what a model gets right of questions, sums and instructions, in lm-evaluation-harness's form."""
