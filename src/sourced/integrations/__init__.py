"""What fits Sourced to its neighbours; each module needs what it is named after, and nothing else imports it."""
