"""The store: all SQL of the program (SQLAlchemy Core; SQLite embedded, PostgreSQL by URL)."""
