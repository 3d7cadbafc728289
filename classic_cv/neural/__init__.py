"""Training of small convolutional networks: needs the ``deep`` extra, predicting does not."""
