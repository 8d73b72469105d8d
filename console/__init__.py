"""The console: pages for auditors, loan officers and CRM staff in a browser.

It is a caller of the gRPC services like any other. It has no access to the server's stores, computes no figure of its own,
and works without JavaScript.
"""
