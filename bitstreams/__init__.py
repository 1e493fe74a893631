"""Floor 4: boards and build flows to a bitstream; nothing stands here yet."""
