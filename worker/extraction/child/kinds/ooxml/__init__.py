"""What Word, PowerPoint and Excel files have in common, and what is done to them before reading."""
