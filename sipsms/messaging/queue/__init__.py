"""The store-and-forward queue."""
