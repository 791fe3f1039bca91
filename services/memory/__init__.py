"""What every service that remembers stands on: who may see a memory, and what is worth keeping."""
