"""Floor 2: in-storage attention; nothing stands here yet."""
