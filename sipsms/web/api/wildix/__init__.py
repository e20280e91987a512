"""originate/sms, the API of Wildix."""
