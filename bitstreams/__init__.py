"""Floor 4: boards, and the flows that make images for them out of generated RTL."""
