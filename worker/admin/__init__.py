"""What needs the admin URL: the schema, and what operators read and set."""
