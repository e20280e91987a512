"""HTTP requests to customers' servers: callbacks, webhooks, push."""
