"""SMPP 3.4: codec, session machine, and the doors and couriers round them."""
