"""What happens to a message: gateway, queue, outbound checks, reports, opt-out, media."""
