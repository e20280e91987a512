"""HTTP listeners and clients (Starlette under uvicorn in the server's event loop), the only web framework."""
