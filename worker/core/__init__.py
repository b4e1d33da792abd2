"""What decides: plain synchronous code, without clock, chance, socket, task or file."""
