"""The demo: `make run` plays the main job live."""
