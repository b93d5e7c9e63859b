"""Who is here, and what goes where. No sockets, no trio; time is a number that the caller passes."""
