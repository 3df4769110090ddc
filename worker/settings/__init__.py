"""Everything that is read from the environment: built once, the part that is read passed down."""
