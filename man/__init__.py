"""Man pages, and what makes them."""
