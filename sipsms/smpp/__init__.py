"""SMPP 3.4: codec, session machine, our SMSC for ESMEs, binds to other SMSCs, courier."""
