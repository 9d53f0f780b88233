"""What `import bench` promises: a run as numbers (runs.py), what makes one (make.py), one file's score (scores.py).

Everything comes from the modules that the commands use; docs/library.md has examples, docs/columns.md every column. Figures are
numbers here, never text.
"""
