"""Code that needs the admin URL: the schema, and the commands of operators."""
