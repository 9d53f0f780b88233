"""Our craft: estimates with intervals, and what they allow to say."""
