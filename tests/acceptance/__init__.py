"""What a user is promised, seen end to end on the embedded agent with real processes."""
