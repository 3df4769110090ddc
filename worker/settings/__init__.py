"""All settings, read from the environment once; each part of the code gets only its part."""
