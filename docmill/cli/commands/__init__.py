"""The commands, a module for each task; each imports what it runs when it is called."""
