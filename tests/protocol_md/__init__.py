"""What reads protocol.md, and what runs its examples."""
