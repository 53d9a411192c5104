"""What a person or another program talks to; installs without torch."""
