"""HTTP listeners and clients (Starlette under uvicorn, in the server's own event loop).

No other package may import the web framework.
"""
