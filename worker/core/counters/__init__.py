"""What is counted, and the state of the worker at one moment."""
