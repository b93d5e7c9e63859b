"""Documentation of sigd, and the programs that make parts of it."""
