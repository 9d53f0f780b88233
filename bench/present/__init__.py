"""What people read: tables, plots, pages, cards, exports. Out of records and nothing else."""
