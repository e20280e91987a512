"""rest.php, the API of VoIP.ms."""
