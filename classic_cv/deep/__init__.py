"""Reference networks as contestants: trained within CPU seconds, stored as ONNX; fitting needs the ``deep`` extra."""
