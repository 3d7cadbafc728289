"""The Open Inference Protocol, version 2, over HTTP: its messages, the images in them, and a client.

No web framework is needed, and none is imported.
"""
