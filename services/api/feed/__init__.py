"""What a conversation looks like from outside: what was said, what happens, and when it rests."""
