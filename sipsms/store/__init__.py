"""The store: records (SQLAlchemy Core; SQLite embedded, PostgreSQL by URL) and the location service. The only SQL."""
