"""Common parts of Word, PowerPoint and Excel files, and their preparation before reading."""
