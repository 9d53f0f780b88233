"""Output for people: tables, plots, pages, cards, exports. It is made from records only."""
