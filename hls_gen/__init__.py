"""Floor 3: the mapping flow from a model to a program; docs/compiler.md says what stands."""
