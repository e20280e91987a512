"""HTTP doors (Starlette under uvicorn, in the server's own event loop). The only place that knows the framework."""
