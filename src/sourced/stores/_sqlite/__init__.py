"""What SQLite needs beyond SQL: its wording, its connections, its wake-ups."""
