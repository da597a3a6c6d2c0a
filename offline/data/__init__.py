"""Images and questions to train and measure on, each with its splits."""
