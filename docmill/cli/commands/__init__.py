"""The commands, one module for each task. A command imports its code only when it is called."""
