"""Design-space exploration: spaces, search, studies and what runs them."""
