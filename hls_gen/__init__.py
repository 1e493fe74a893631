"""Floor 3: the mapping flow from a model to a program; nothing stands here yet."""
