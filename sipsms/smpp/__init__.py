"""SMPP 3.4: codec, session machine, our SMSC for ESMEs, binds to other SMSCs, courier.

The codec (pdu, data_coding, submit_sm, receipt) and the machines (session, concat_refs, resend_detection, throttle) are
pure: octets and time come in as arguments, values go out.
"""
