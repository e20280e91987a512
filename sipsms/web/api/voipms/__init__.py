"""VoIP.ms' API, rest.php."""
