"""The public interface of `import bench`: a run as numbers (runs.py), functions that make a run (make.py), one file's score (scores.py).

All of it uses the same modules as the commands. docs/library.md has examples, docs/columns.md every column. Figures are numbers
here, never text.
"""
